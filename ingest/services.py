"""What the routes work with, put together in `ingest.bootstrap` and found through the request."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ingest.admin.dependency_health import HealthMonitor
from ingest.batches.service import Batches
from ingest.feedback.submission import FeedbackDesk
from ingest.follow.abandonment import Abandonments
from ingest.follow.replies import ReplyHub
from ingest.follow.stream_tokens import StreamTokens
from ingest.ports import History, Registry, ReplyLoop, SdkCalls, Spend
from ingest.submit.identification import Identification
from ingest.submit.submission import Submissions
from streams.serving.keys import Keyring
from streams.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything behind the routes."""

    settings: Settings
    keyring: Keyring
    stream_tokens: StreamTokens
    submissions: Submissions
    batches: Batches
    feedback: FeedbackDesk
    abandonments: Abandonments
    identification: Identification
    client_retries: SdkCalls
    hub: ReplyHub
    registry: Registry
    spend: Spend
    health: HealthMonitor
    reply_loop: ReplyLoop
    history: History


def services_of(request: Request) -> Services:
    """Return the services of the application that serves this request."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    return services_of(request)  # async, because FastAPI runs plain functions in a thread of their own


ServicesDep = Annotated[Services, Depends(_services)]

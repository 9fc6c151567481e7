"""The services behind the routes.

`ingest.bootstrap` connects them, and each route finds them by its request.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ingest.admin.dependency_health import HealthMonitor
from ingest.admin.spend import ClickHouseSpend
from ingest.batches.service import Batches
from ingest.feedback.submission import FeedbackSubmission
from ingest.follow.abandonment import Abandonments
from ingest.follow.delta_history import DeltaHistory
from ingest.follow.reply_consumer import ReplyConsumer
from ingest.follow.reply_hub import ReplyHub
from ingest.follow.stream_tokens import StreamTokens
from ingest.submit.client_retries import ClientRetries
from ingest.submit.submission import Submissions
from streams.registry.registry import RequestRegistry
from streams.registry.runs import RequestRuns
from streams.serving.api_keys import Keyring
from streams.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything behind the routes."""

    settings: Settings
    keyring: Keyring
    stream_tokens: StreamTokens
    submissions: Submissions
    batches: Batches
    feedback: FeedbackSubmission
    abandonments: Abandonments
    runs: RequestRuns
    client_retries: ClientRetries
    hub: ReplyHub
    registry: RequestRegistry
    spend: ClickHouseSpend
    health: HealthMonitor
    reply_loop: ReplyConsumer
    history: DeltaHistory


def services_of(request: Request) -> Services:
    """Return the services of the application that serves this request."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    return services_of(request)  # async, because FastAPI runs plain functions in a thread of their own


ServicesDep = Annotated[Services, Depends(_services)]

"""`POST /v1/feedback`: a score of an answer, by a user, reviewer, judge or check.

The registry knows a tenant's requests from acceptance on, for a day (`HEADRACE_REGISTRY_TTL_S`); ClickHouse
knows them from their end on, for 13 months. ClickHouse is asked about what the registry does not know.
"""

from datetime import datetime
from decimal import Decimal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import SenderDep
from ingest.openapi import body_of
from ingest.services import Services, ServicesDep
from ingest.submit.http_message import decode_body, read_body, traceparent_of
from streams.codec import event_headers
from streams.errors import StoreUnavailable
from streams.events import (
    FeedbackGiven,
    RequestId,
    ScoreComment,
    ScoreId,
    ScoreLabel,
    ScoreName,
    Scorer,
    ScoreSource,
)
from streams.publisher import Emit
from streams.registry.entries import plain
from streams.request_rules.feedback import score_id_of, value_of
from streams.serving.fastapi_errors import errors
from streams.serving.responses import JsonResponse, not_found
from streams.times import micros
from streams.topics import FEEDBACK

router = APIRouter(tags=["feedback"])

#: Room for the longest comment with every character escaped, as six or twelve bytes, and for the rest.
_MAX_BODY_BYTES = 64 * 1024


class FeedbackBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/feedback` takes: a `value`, a label that stands for one, or both."""

    request_id: RequestId
    name: ScoreName = "thumbs"
    value: Decimal | None = None
    label: ScoreLabel = ""
    comment: ScoreComment = ""
    source: ScoreSource = "user"
    scorer: Scorer = ""
    score_id: ScoreId | None = None


@router.post("/v1/feedback", status_code=202, openapi_extra=body_of(FeedbackBody), responses=errors(404))
async def give(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
    """Score a request of your own. The same again, with the same `score_id`, corrects the score.

    Analysts see it within seconds of the request's own row.
    """
    body = decode_body(await read_body(request, max_bytes=_MAX_BODY_BYTES), FeedbackBody)
    request.state.request_id = body.request_id
    value = value_of(value=body.value, label=body.label)
    accepted_at = await _accepted_at(services, body.request_id, caller.tenant)
    at = services.clock()
    given = {name: getattr(body, name) for name in body.__struct_fields__} | {"value": value}
    feedback = FeedbackGiven(**given, tenant=caller.tenant, scored_at=at, accepted_at=accepted_at)
    score_id = score_id_of(feedback)
    headers = event_headers(
        feedback,
        event_id=f"{feedback.request_id}:{score_id}:{micros(at)}",
        source=services.submissions.source,
        at=at,
        traceparent=traceparent_of(request.headers.get("traceparent")),
    )
    emit = Emit.to(FEEDBACK, feedback, key=feedback.request_id, headers=headers)
    await services.submissions.publisher.publish(emit)
    accepted = {
        "request_id": feedback.request_id,
        "score_id": score_id,
        "name": feedback.name,
        "value": plain(value),
        "label": feedback.label,
        "source": feedback.source,
        "scored_at": at,
        "status": "accepted",
    }
    return JsonResponse(accepted, status_code=202)


async def _accepted_at(services: Services, request_id: str, tenant: str) -> datetime | None:
    """Return when the request was accepted; None while only the stages know."""
    unavailable: StoreUnavailable | None = None
    try:
        (state,) = await services.registry.find_many([request_id])  # `find` fetches vectors, too
    except StoreUnavailable as fault:
        state, unavailable = None, fault
    # An entry of another tenant means nothing: once forgotten, an id may be used again by anybody.
    if state is not None and state.tenant == tenant:
        return state.reply.accepted_at if state.reply else None
    accepted_at = await services.spend.accepted_at(tenant, request_id)
    if accepted_at is None and unavailable is not None:
        raise unavailable
    if accepted_at is None:
        # The same error if it is another tenant's: that it exists is not the caller's business.
        raise not_found(
            "no such request: it was never accepted, or so long ago that nothing of it is kept",
            code="request_not_found",
            param="request_id",
        )
    return accepted_at

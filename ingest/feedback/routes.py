"""`/v1/feedback`: what users, reviewers, judges and checks think of an answer."""

from decimal import Decimal

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.feedback.submission import FeedbackBody
from ingest.openapi import body_of
from ingest.services import ServicesDep
from ingest.submit.body import decode_body, read_body
from ingest.submit.headers import traceparent_of
from streams.registry.reply_view import plain
from streams.request_rules.feedback import score_id_of
from streams.serving.json_response import JsonResponse
from streams.serving.openapi import errors

router = APIRouter(tags=["feedback"])

#: Room for the longest comment with every character escaped, as six or twelve bytes, and for the rest.
_MAX_BODY_BYTES = 64 * 1024


@router.post("/v1/feedback", status_code=202, openapi_extra=body_of(FeedbackBody), responses=errors(404))
async def give(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Score a request of your own. The same again, with the same `score_id`, corrects the score.

    Analysts see it within seconds of the request's own row.
    """
    body = decode_body(await read_body(request, max_bytes=_MAX_BODY_BYTES), FeedbackBody)
    request.state.request_id = body.request_id
    feedback = await services.feedback.give(
        body, tenant=caller.tenant, traceparent=traceparent_of(request.headers.get("traceparent"))
    )
    return JsonResponse(
        {
            "request_id": feedback.request_id,
            "score_id": score_id_of(feedback),
            "name": feedback.name,
            "value": plain(feedback.value or Decimal(0)),
            "label": feedback.label,
            "source": feedback.source,
            "scored_at": feedback.scored_at,
            "status": "accepted",
        },
        status_code=202,
    )

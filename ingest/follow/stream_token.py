"""`POST /v1/requests/{id}/stream-token`: lets a browser read one request's events."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.follow.lookup import state_of
from ingest.services import Services, ServicesDep
from streams.serving.json_response import JsonResponse
from streams.serving.openapi import errors

router = APIRouter(tags=["requests"])


@router.post("/v1/requests/{request_id}/stream-token", responses=errors(404))
async def give_stream_token(
    request: Request, request_id: str, caller: CallerDep, services: ServicesDep
) -> Response:
    """Return a token that reads this request's events for a while, and nothing else, without a key.

    It goes into the parameter `token` of `events_url`, because `EventSource` cannot send headers. It is
    checked when a stream is opened; an open stream goes on to its end.
    """
    await state_of(request_id, caller, services)
    request.state.request_id = request_id
    access = stream_access(request_id, caller.tenant, services)
    return JsonResponse({"request_id": request_id, **access}, headers={"Cache-Control": "no-store"})


def stream_access(request_id: str, tenant: str, services: Services) -> dict[str, Any]:
    """Return where the events of a request of this tenant are, and a new token for them."""
    given = services.stream_tokens.give(request_id, tenant)
    return {
        "events_url": f"/v1/requests/{request_id}/events",
        "stream_token": given.token,
        "stream_token_expires_at": given.expires_at,
    }

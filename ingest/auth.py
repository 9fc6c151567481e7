"""Authentication: the dependencies of every route but the probes and the page."""

from typing import Annotated

from fastapi import Depends, Query, Request

from ingest.follow.stream_tokens import TokenAccepted, TokenExpired, TokenInvalid
from ingest.services import services_of
from streams.events import ErrorInfo
from streams.serving.credentials import PresentedKey, required
from streams.serving.errors import ApiError, unauthorized
from streams.serving.keys import Caller

#: The tier of a caller with a stream token. It submits nothing, so that no limit needs it.
_NO_TIER = ""


async def authenticate(request: Request, presented: PresentedKey) -> Caller:
    """Return the caller of a request; 401 without a key that is known."""
    caller = services_of(request).keyring.caller(required(presented))
    if caller is None:
        raise unauthorized("the API key is not known here")
    request.state.tenant = caller.tenant
    return caller


CallerDep = Annotated[Caller, Depends(authenticate)]


async def authenticate_reader(
    request: Request,
    request_id: str,
    presented: PresentedKey,
    token: Annotated[
        str | None, Query(description="a stream token, for browsers' `EventSource`, instead of a key")
    ] = None,
) -> Caller:
    """Return the reader of a request's events: by key, or by a stream token for that request; 401 without."""
    if token is None or presented is not None:
        return await authenticate(request, presented)
    match services_of(request).stream_tokens.check(token, request_id):
        case TokenAccepted(tenant):
            request.state.tenant = tenant
            return Caller(tenant, _NO_TIER)
        case TokenExpired(expired_at):
            raise _refused("expired_stream_token", f"the stream token expired at {expired_at.isoformat()}")
        case TokenInvalid():
            raise _refused(
                "invalid_stream_token", "the stream token is not good for the events of this request"
            )


def _refused(code: str, what: str) -> ApiError:
    message = f"{what}: POST /v1/requests/{{id}}/stream-token gives a new one to who has the API key"
    error = ErrorInfo(type="authentication_error", code=code, message=message, param="token")
    return ApiError(401, error, headers={"WWW-Authenticate": "Bearer"})


ReaderDep = Annotated[Caller, Depends(authenticate_reader)]

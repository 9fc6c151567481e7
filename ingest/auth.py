"""Who calls: the dependencies of every route but the probes and the page."""

from typing import Annotated

from fastapi import Depends, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from ingest.errors import ApiError, unauthorized
from ingest.keys import Caller
from ingest.services import services_of
from ingest.stream_tokens import Expired, Opens, Wrong
from streams.events import ErrorInfo

_bearer = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)

#: Stands in for the tier of who comes with a stream token: it sends nothing, so no limit asks for it.
_NO_TIER = ""


async def authenticate(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    api_key: Annotated[str | None, Security(_header)],
) -> Caller:
    """Return the caller of a request.

    Raises:
        ApiError: 401, no key or an unknown one.
    """
    presented = bearer.credentials if bearer else api_key
    if not presented:
        raise unauthorized("no API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
    caller = services_of(request).keyring.caller(presented)
    if caller is None:
        raise unauthorized("the API key is not known here")
    request.state.tenant = caller.tenant
    return caller


CallerDep = Annotated[Caller, Depends(authenticate)]


async def authenticate_reader(
    request: Request,
    request_id: str,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    api_key: Annotated[str | None, Security(_header)],
    token: Annotated[
        str | None, Query(description="a stream token, for browsers' `EventSource`, instead of a key")
    ] = None,
) -> Caller:
    """Return who reads the events of `request_id`: by key, or else by a stream token for just these.

    Raises:
        ApiError: 401, neither is good.
    """
    if token is None or bearer or api_key:
        return await authenticate(request, bearer, api_key)
    match services_of(request).stream_tokens.check(token, request_id):
        case Opens(tenant):
            request.state.tenant = tenant
            return Caller(tenant, _NO_TIER)
        case Expired(expired_at):
            raise _refused("expired_stream_token", f"the stream token expired at {expired_at.isoformat()}")
        case Wrong():
            raise _refused(
                "invalid_stream_token", "the stream token is not good for the events of this request"
            )


def _refused(code: str, what: str) -> ApiError:
    message = f"{what}: POST /v1/requests/{{id}}/stream-token gives a new one to who has the API key"
    error = ErrorInfo(type="authentication_error", code=code, message=message, param="token")
    return ApiError(401, error, headers={"WWW-Authenticate": "Bearer"})


ReaderDep = Annotated[Caller, Depends(authenticate_reader)]

"""Who calls: a dependency that every route but the probes has."""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from ingest.errors import unauthorized
from ingest.keys import Caller
from ingest.services import services_of

_bearer = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)


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

"""Authentication: the dependencies of every route but the probes and the page."""

from typing import Annotated

from fastapi import Depends, Query, Request

from ingest.services import services_of
from streams.serving.api_keys import Caller, PresentedKey, required
from streams.serving.errors import unauthorized

#: The tier of a caller with a stream token. It submits nothing, so that no limit needs it.
_NO_TIER = ""


async def authenticate(request: Request, presented: PresentedKey) -> Caller:
    """Return the caller of a request; 401 without a key that is known."""
    caller = services_of(request).keys.owner(required(presented))
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
    request.state.tenant = services_of(request).stream_tokens.tenant_of(token, request_id)
    return Caller(request.state.tenant, _NO_TIER)


ReaderDep = Annotated[Caller, Depends(authenticate_reader)]

"""The API key in the headers of a request."""

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from streams.serving.errors import unauthorized

_bearer = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)


async def presented_key(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    api_key: Annotated[str | None, Security(_header)],
) -> str | None:
    """Return the key that a request presents, or None. The bearer token goes first."""
    presented = (bearer.credentials if bearer else api_key) or None
    if presented is None or presented.isascii():
        return presented
    return presented.encode("latin-1", "replace").decode("utf-8", "replace")  # header text is UTF-8


PresentedKey = Annotated[str | None, Depends(presented_key)]


def required(presented: str | None) -> str:
    """Return the key; raise the 401 where there is none."""
    if presented is None:
        raise unauthorized("no API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
    return presented

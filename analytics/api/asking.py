"""Dependencies of the analysts' routes: the query service, and the caller's key."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from analytics.access import TenantScope
from analytics.reports.query_service import QueryService
from streams.serving.credentials import PresentedKey, required
from streams.serving.errors import unauthorized
from streams.serving.keys import KeyTable

#: What the access log calls the tenant of who may see all of them.
_ADMIN = "(admin)"


@dataclass(frozen=True, kw_only=True)
class Analysts:
    """Everything behind the analysts' routes."""

    service: QueryService
    keys: KeyTable[TenantScope]


def analysts_of(request: Request) -> Analysts:
    """Return the dependencies of the application that serves this request."""
    analysts: Analysts = request.app.state.analysts
    return analysts


async def _service(request: Request) -> QueryService:
    return analysts_of(
        request
    ).service  # async, because FastAPI runs plain functions in a thread of their own


async def _authenticate(request: Request, presented: PresentedKey) -> TenantScope:
    """Return whose rows the caller may see.

    Raises:
        ApiError: 401, no key or an unknown one.
    """
    scope = analysts_of(request).keys.owner(required(presented))
    if scope is None:
        raise unauthorized("the API key is not known here")
    request.state.tenant = scope.tenant or _ADMIN
    return scope


QueryServiceDep = Annotated[QueryService, Depends(_service)]
TenantScopeDep = Annotated[TenantScope, Depends(_authenticate)]

"""FastAPI dependencies of the analysts' routes: the query service, and whose rows a key opens."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from analytics.reports.catalogue import Catalogue
from analytics.reports.query_service import QueryService, QuerySlots, TenantScope
from analytics.reports.reader import AnalystReader, ReaderLimits
from streams.serving.api_keys import ApiKeys, PresentedKey
from streams.serving.callers import Callers
from streams.settings import Settings

#: What the access log calls the tenant of who may see all of them.
_ADMIN = "(admin)"


@dataclass(frozen=True, kw_only=True)
class Analysts:
    """Everything behind the analysts' routes."""

    service: QueryService
    callers: Callers


def analysts_of(request: Request) -> Analysts:
    """Return the dependencies of the application that serves this request."""
    analysts: Analysts = request.app.state.analysts
    return analysts


async def _service(request: Request) -> QueryService:
    # Async, because FastAPI runs plain functions in a thread of their own.
    return analysts_of(request).service


async def _authenticate(request: Request, presented: PresentedKey) -> TenantScope:
    """Return whose rows the caller may see: an admin key opens all tenants; 401 without a known key."""
    caller = await analysts_of(request).callers.caller(presented)
    if "admin" in caller.scopes:
        request.state.tenant = _ADMIN
        return TenantScope(None)
    caller.check_scope("read")
    caller.check_whole_tenant()
    request.state.tenant = caller.tenant
    return TenantScope(caller.tenant)


QueryServiceDep = Annotated[QueryService, Depends(_service)]
TenantScopeDep = Annotated[TenantScope, Depends(_authenticate)]


def analysts_of_settings(settings: Settings) -> Analysts:
    """Return them, not connected before the first question; raises as `Catalogue.load`, `AnalystReader`."""
    return Analysts(
        service=QueryService(
            Catalogue.load(), _reader(settings), QuerySlots(running=settings.analyst_queries)
        ),
        callers=Callers(ApiKeys.of(settings)),
    )


def _reader(settings: Settings) -> AnalystReader | None:
    if settings.clickhouse_reader_url is None:
        return None
    limits = ReaderLimits(
        timeout_s=settings.analyst_timeout_s,
        result_rows=settings.analyst_result_rows,
        result_bytes=settings.analyst_result_bytes,
        memory_bytes=settings.analyst_memory_bytes,
    )
    url = settings.clickhouse_reader_url.get_secret_value()
    return AnalystReader(url, database=settings.clickhouse_database, limits=limits)

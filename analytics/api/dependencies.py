"""FastAPI dependencies of the analysts' routes: the query service, and whose rows a key opens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from analytics.reports.catalogue import Catalogue
from analytics.reports.query_service import QueryService, QuerySlots, TenantScope
from analytics.reports.reader import AnalystReader, ReaderLimits
from streams.errors import ConfigurationError
from streams.serving.api_keys import KeyTable, PresentedKey, required
from streams.serving.responses import unauthorized
from streams.settings import ApiKey, Settings

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
    # Async, because FastAPI runs plain functions in a thread of their own.
    return analysts_of(request).service


async def _authenticate(request: Request, presented: PresentedKey) -> TenantScope:
    """Return whose rows the caller may see; 401 without a key that is known."""
    scope = analysts_of(request).keys.owner(required(presented))
    if scope is None:
        raise unauthorized("the API key is not known here")
    request.state.tenant = scope.tenant or _ADMIN
    return scope


QueryServiceDep = Annotated[QueryService, Depends(_service)]
TenantScopeDep = Annotated[TenantScope, Depends(_authenticate)]


def analysts_of_settings(settings: Settings) -> Analysts:
    """Return them, not connected before the first question; raises as `Catalogue.load`, `AnalystReader`."""
    admin_key = settings.admin_key
    return Analysts(
        service=QueryService(
            Catalogue.load(), _reader(settings), QuerySlots(running=settings.analyst_queries)
        ),
        keys=analyst_keys(settings.keys, admin_key.get_secret_value() if admin_key else None),
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


def analyst_keys(keys: Mapping[str, ApiKey], admin_key: str | None) -> KeyTable[TenantScope]:
    """Return the keys: an API key opens its tenant, the admin key all; `ConfigurationError` if unsafe."""
    if admin_key is not None and admin_key in keys:
        raise ConfigurationError(
            "HEADRACE_ADMIN_KEY is an API key too: who has it would see every tenant; choose another one"
        )
    if not all(owner.tenant for owner in keys.values()):
        raise ConfigurationError("HEADRACE_API_KEYS: every key needs a tenant that is not empty")
    scopes = {key: TenantScope(owner.tenant) for key, owner in keys.items()}
    return KeyTable(scopes if admin_key is None else {**scopes, admin_key: TenantScope(None)})

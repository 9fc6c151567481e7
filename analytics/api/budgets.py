"""`/v1/analytics/budgets`: how much of the day's budgets is spent."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from analytics.alerts.fixed_limits import (
    ALL_TENANTS,
    BudgetStanding,
    begin_of_day,
    budget_standings,
    end_of_day,
)
from analytics.api.dependencies import QueryServiceDep, TenantScopeDep
from analytics.api.queries import QUERY_ERRORS, faults_as_errors
from analytics.reports.query import JSON
from analytics.reports.query_service import QueryService, TenantScope
from analytics.status import Clock, utc_now
from streams.registry.entries import plain
from streams.serving.fastapi_errors import errors
from streams.serving.responses import JsonResponse

#: The exact figures, and of every tenant: those of all together are their sum.
_QUERY = "cost_by_tenant"
_MOST_TENANTS = 100_000
_rows = msgspec.json.Decoder(list[dict[str, Any]], float_hook=Decimal)


def budgets_router(daily_usd: Mapping[str, Decimal], *, clock: Clock = utc_now) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["analytics"])

    @router.get("/v1/analytics/budgets", responses=errors(*QUERY_ERRORS))
    async def budgets_today(service: QueryServiceDep, scope: TenantScopeDep) -> Response:
        """Return each budget and what of it is spent since midnight (UTC), by the day of acceptance.

        A tenant's key sees its own budget. Nothing is refused where one is exceeded.
        """
        with faults_as_errors(_QUERY):
            wanted = {
                tenant: usd
                for tenant, usd in daily_usd.items()
                if scope.tenant is None or (tenant == scope.tenant != ALL_TENANTS)
            }
            found = await _standings(wanted, service, scope, clock) if wanted else []
        return JsonResponse({"budgets": [_described(each) for each in found]})

    return router


async def _standings(
    daily_usd: Mapping[str, Decimal], service: QueryService, scope: TenantScope, clock: Clock
) -> list[BudgetStanding]:
    now = clock()  # once: between two readings the day may change
    since, until = begin_of_day(now), end_of_day(now)
    given = {"since": since.isoformat(), "until": until.isoformat(), "limit": str(_MOST_TENANTS)}
    prepared = service.prepare(_QUERY, given, scope, JSON)
    async with service.ask(prepared) as answer:
        rows = _rows.decode(b"".join([piece async for piece in answer.pieces()]) or b"[]")
    spent = {str(row["tenant"]): Decimal(row["cost_usd"]) for row in rows}
    return budget_standings(daily_usd, spent, day=since.date())


def _described(standing: BudgetStanding) -> dict[str, Any]:
    amounts = {name: plain(getattr(standing, name)) for name in ("daily_usd", "spent_usd", "share")}
    return {"tenant": standing.tenant, **amounts, "day": standing.day}

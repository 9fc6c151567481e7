"""Routes about the service: `/health`, `/live` and `/ready`; costs and cache statistics of a tenant."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ingest.auth import ReaderDep
from ingest.services import CheckResult, Services, ServicesDep
from streams.redis.memory import MemoryState
from streams.serving.responses import JsonResponse

router = APIRouter()

#: Without these no request is accepted. Without ClickHouse they are accepted and answered all the same.
REQUIRED = ("kafka", "redis")
_STATE: dict[int | str, dict[str, Any]] = {
    503: {"description": "It does not: the body says why", "content": {"application/json": {}}}
}


@router.get("/health", tags=["health"], responses=_STATE)
async def health(services: ServicesDep) -> Response:
    """Return the state of every dependency; 503 if requests cannot be accepted."""
    checks = await services.health.results()
    serving = not _missing(checks, services)
    well = all(result.up and not result.has_memory(MemoryState.LOW) for result in checks.values())
    body: dict[str, Any] = {
        "status": "unhealthy" if not serving else "healthy" if well else "degraded",
        "timestamp": datetime.now(UTC),
        "checks": checks,
        "reply_loop": "connected" if services.reply_loop.connected else "disconnected",
        "requests_in_flight": services.hub.in_flight,
        "record_signing": services.settings.record_signing,
        "replica": services.settings.ingest_replica,
        "replicas": services.settings.ingest_replicas,
    }
    return JsonResponse(body, status_code=200 if serving else 503)


@router.get("/live", tags=["health"], responses=_STATE)
async def live(services: ServicesDep) -> Response:
    """Return whether the process works; 503 means that it should be restarted."""
    alive = services.reply_loop.alive
    return JsonResponse({"status": "alive" if alive else "stuck"}, status_code=200 if alive else 503)


@router.get("/ready", tags=["health"], responses=_STATE)
async def ready(services: ServicesDep) -> Response:
    """Return whether requests should be sent here."""
    missing = _missing(await services.health.results(), services)
    body = {"status": "not ready" if missing else "ready", "missing": missing}
    return JsonResponse(body, status_code=503 if missing else 200)


@router.get("/v1/costs", tags=["costs"])
async def costs(caller: ReaderDep, services: ServicesDep) -> Response:
    """Return totals, averages, cost by model and the ten users who cost most."""
    caller.check_whole_tenant()
    return JsonResponse(await services.spend.costs(caller.tenant))


@router.get("/v1/cache/stats", tags=["cache"])
async def cache_stats(caller: ReaderDep, services: ServicesDep) -> Response:
    """Return hits, misses and the hit rate of the caller's tenant."""
    caller.check_whole_tenant()
    return JsonResponse(await services.spend.cache_stats(caller.tenant))


def _missing(checks: Mapping[str, CheckResult], services: Services) -> list[str]:
    """Return what keeps requests from being accepted."""
    missing = [name for name in REQUIRED if name in checks and not checks[name].up]
    missing += [f"{name}_memory" for name, result in checks.items() if result.has_memory(MemoryState.FULL)]
    return missing + ([] if services.reply_loop.connected else ["reply_loop"])

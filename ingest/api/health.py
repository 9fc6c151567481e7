"""`/health`, `/live`, `/ready`: for people, for the process's keeper, for the load balancer."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from ingest.services import ServicesDep
from streams.serving.json_response import JsonResponse

router = APIRouter(tags=["health"])

#: Without these no request can be accepted. ClickHouse down stops no answers.
REQUIRED = ("kafka", "redis")
_STATE: dict[int | str, dict[str, Any]] = {
    503: {"description": "It does not: the body says why", "content": {"application/json": {}}}
}


@router.get("/health", responses=_STATE)
async def health(services: ServicesDep) -> Response:
    """Return the state of every dependency; 503 where requests cannot be accepted."""
    checks = await services.health.results()
    down = {name for name, result in checks.items() if not result.up}
    serving = down.isdisjoint(REQUIRED) and services.reply_loop.connected
    status = "unhealthy" if not serving else "degraded" if down else "healthy"
    body: dict[str, Any] = {
        "status": status,
        "timestamp": datetime.now(UTC),
        "checks": checks,
        "reply_loop": "connected" if services.reply_loop.connected else "disconnected",
        "requests_in_flight": services.hub.in_flight,
        "replica": services.settings.ingest_replica,
        "replicas": services.settings.ingest_replicas,
    }
    return JsonResponse(body, status_code=200 if serving else 503)


@router.get("/live", responses=_STATE)
async def live(services: ServicesDep) -> Response:
    """Whether the process works: 503 means that it should be restarted."""
    alive = services.reply_loop.alive
    return JsonResponse({"status": "alive" if alive else "stuck"}, status_code=200 if alive else 503)


@router.get("/ready", responses=_STATE)
async def ready(services: ServicesDep) -> Response:
    """Whether requests should be sent here."""
    checks = await services.health.results()
    missing = [name for name in REQUIRED if name in checks and not checks[name].up]
    if not services.reply_loop.connected:
        missing.append("reply_loop")
    body = {"status": "not ready" if missing else "ready", "missing": missing}
    return JsonResponse(body, status_code=503 if missing else 200)

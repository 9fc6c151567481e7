"""`/health`, `/live`, `/ready`: whether the process is alive, ready, and how far behind."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter, Response

from analytics.cached_reading import CachedReading
from analytics.status import FeedbackStatus, SinkStatus, WatchStatus

#: The sink's loop turns many times a second; after so long it hangs, and a restart will help.
_HUNG_AFTER_S = 60.0

#: What a probe may take, and how long its result is given again, in seconds.
_PROBE_TIMEOUT_S = 1.5
_PROBE_FRESH_S = 1.0

_STATE: Final[dict[int | str, dict[str, Any]]] = {
    503: {"description": "It does not: the body says why", "content": {"application/json": {}}}
}

Ping = Callable[[], Awaitable[None]]


def health_router(
    status: SinkStatus,
    ping: Ping,
    watch: WatchStatus | None = None,
    feedback: FeedbackStatus | None = None,
    *,
    signed: bool = True,
) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["health"])
    # Asked once for all callers, and never for long: a ClickHouse that hangs must not hold up `/health`.
    probe = CachedReading("clickhouse", ping, fresh_for_s=_PROBE_FRESH_S, timeout_s=_PROBE_TIMEOUT_S)

    @router.get("/health")
    async def health() -> dict[str, Any]:
        """Return the state of the dependencies and of the sink, with its counters."""
        signing = "required" if signed else "off"
        return {**await _health(status, probe, watch, feedback), "record_signing": signing}

    @router.get("/live", responses=_STATE)
    async def live(response: Response) -> dict[str, Any]:
        """Answer 200 while the sink's loop turns, 503 where only a restart will help."""
        # While something is away it may wait inside a turn, and no restart would end that.
        hung = status.joined and not status.outages and status.idle_s > _HUNG_AFTER_S
        response.status_code = 503 if hung else 200
        return {"status": "hung" if hung else "ok", "idle_s": round(status.idle_s, 1)}

    @router.get("/ready", responses=_STATE)
    async def ready(response: Response) -> dict[str, Any]:
        """Answer 200 where records are being stored, 503 with the reasons where not."""
        found = await _health(status, probe, watch, feedback)
        response.status_code = 200 if found["status"] == "ok" else 503
        return found

    return router


async def _health(
    status: SinkStatus, probe: CachedReading[None], watch: WatchStatus | None, feedback: FeedbackStatus | None
) -> dict[str, Any]:
    # Asked first: what the sink says about itself is then of one moment.
    fault = None if "clickhouse" in status.outages else (await probe.get()).fault
    dependencies: dict[str, Any] = {
        name: {"status": "down", "since": outage.since, "error": outage.error}
        for name, outage in status.outages.items()
    }
    if "kafka_fetch" in dependencies:  # the same broker, noticed by reading
        fetching = dependencies.pop("kafka_fetch")
        dependencies.setdefault("kafka", fetching)
    if fault is not None:
        dependencies.setdefault("clickhouse", {"status": "down", "error": fault})
    overall = "degraded" if dependencies else "ok" if status.ready else "starting"
    for name in ("kafka", "clickhouse"):
        dependencies.setdefault(name, {"status": "up"})
    return {
        "status": overall,
        "dependencies": dependencies,
        "sink": status.as_dict(),
        "rollups": status.rollups,
        **({} if watch is None else {"alerts": watch.as_dict()}),
        **({} if feedback is None else {"feedback": feedback.as_dict()}),
    }

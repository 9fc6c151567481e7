"""The HTTP side of the analytics process: whether it is alive, ready, and how far behind."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Response

from analytics.status import SinkStatus
from streams.errors import ClickHouseUnavailable

#: The sink's loop turns many times a second; after so long it hangs, and a restart will help.
_HUNG_AFTER_S = 60.0

Ping = Callable[[], Awaitable[None]]


def create_app(status: SinkStatus, ping: Ping) -> FastAPI:
    """Return the app.

    Args:
        status: what the sink says about itself.
        ping: asks ClickHouse for an answer; raises `ClickHouseUnavailable` where there is none.
    """
    app = FastAPI(title="Headrace analytics", docs_url=None, redoc_url=None)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Tell the state of the dependencies and of the sink, with its counters."""
        return await _health(status, ping)

    @app.get("/live")
    async def live(response: Response) -> dict[str, Any]:
        """Answer 200 while the sink's loop turns, 503 where only a restart will help."""
        # While something is away it may wait inside a turn, and no restart would end that.
        hung = status.joined and not status.outages and status.idle_s > _HUNG_AFTER_S
        response.status_code = 503 if hung else 200
        return {"status": "hung" if hung else "ok", "idle_s": round(status.idle_s, 1)}

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, Any]:
        """Answer 200 where records are being stored, 503 with the reasons where not."""
        found = await _health(status, ping)
        response.status_code = 200 if found["status"] == "ok" else 503
        return found

    return app


async def _health(status: SinkStatus, ping: Ping) -> dict[str, Any]:
    dependencies: dict[str, Any] = {
        name: {"status": "down", "since": outage.since, "error": outage.error}
        for name, outage in status.outages.items()
    }
    if "kafka_fetch" in dependencies:  # the same broker, noticed by reading
        fetching = dependencies.pop("kafka_fetch")
        dependencies.setdefault("kafka", fetching)
    if "clickhouse" not in dependencies:
        try:
            await ping()
        except ClickHouseUnavailable as fault:
            dependencies["clickhouse"] = {"status": "down", "error": str(fault)}
    overall = "degraded" if dependencies else "ok" if status.ready else "starting"
    for name in ("kafka", "clickhouse"):
        dependencies.setdefault(name, {"status": "up"})
    return {"status": overall, "dependencies": dependencies, "sink": status.as_dict()}

"""`/metrics`: the process's numbers, for Prometheus."""

from fastapi import APIRouter, Response

from analytics.alerts.status import WatchStatus
from analytics.metrics import CONTENT_TYPE, exposition
from analytics.status import Clock, SinkStatus, utc_now


def metrics_router(sink: SinkStatus, watch: WatchStatus, *, clock: Clock = utc_now) -> APIRouter:
    """Return the route.

    Args:
        sink: what the sink says about itself.
        watch: what the watcher has seen.
        clock: the time.
    """
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics")
    async def metrics() -> Response:
        """Tell the numbers in Prometheus' text format."""
        return Response(exposition(sink, watch, now=clock()), media_type=CONTENT_TYPE)

    return router

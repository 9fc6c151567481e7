"""`/metrics`: the process's numbers, for Prometheus."""

from fastapi import APIRouter, Response
from starlette.responses import PlainTextResponse

from analytics.alerts.status import WatchStatus
from analytics.feedback.status import FeedbackStatus
from analytics.metrics import CONTENT_TYPE, exposition
from analytics.reports.query_metrics import query_exposition
from analytics.reports.query_service import QueryService
from analytics.sink.status import Clock, SinkStatus, utc_now


def metrics_router(
    sink: SinkStatus,
    watch: WatchStatus,
    feedback: FeedbackStatus,
    desk: QueryService | None = None,
    *,
    clock: Clock = utc_now,
) -> APIRouter:
    """Return the route.

    Args:
        sink: what the sink says about itself.
        watch: what the watcher has seen.
        feedback: what the reader of feedback says about itself.
        desk: where analysts ask; None where they do not.
        clock: the time.
    """
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Tell the numbers in Prometheus' text format."""
        text = exposition(sink, watch, feedback, now=clock())
        if desk is not None:
            text += query_exposition(desk.counts, desk.slots)
        return Response(text, media_type=CONTENT_TYPE)

    return router

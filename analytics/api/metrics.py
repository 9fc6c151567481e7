"""`/metrics`: the process's numbers, for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse

from analytics.metrics import CONTENT_TYPE, exposition


def metrics_router(registry: CollectorRegistry) -> APIRouter:
    """Return the route; `registry` has the metrics."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return the numbers in Prometheus' text format."""
        return Response(exposition(registry), media_type=CONTENT_TYPE)

    return router

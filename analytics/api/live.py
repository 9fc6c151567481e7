"""`/v1/analytics/live`: the pipeline as it is now."""

from fastapi import APIRouter
from starlette.responses import Response

from analytics.api.dependencies import TenantScopeDep
from analytics.live.pipeline import LivePipeline
from streams.serving.responses import JsonResponse


def live_router(pipeline: LivePipeline) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["analytics"])

    @router.get("/v1/analytics/live")
    async def live(scope: TenantScopeDep) -> Response:
        """Return how far each stage is, what is in flight, and what waits for an operator.

        The admin's key sees all parts. Lags and dead letters are of all tenants together: a tenant's key sees
        how fresh the figures are that its queries give, and no more.
        """
        found = await (pipeline.everything() if scope.tenant is None else pipeline.freshness())
        return JsonResponse(found, headers={"Cache-Control": "private, no-store"})

    return router

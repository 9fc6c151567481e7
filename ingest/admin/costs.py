"""`GET /v1/costs` and `GET /v1/cache/stats`: what the caller's tenant has spent, and what the cache saved."""

from fastapi import APIRouter
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.services import ServicesDep
from streams.serving.json_response import JsonResponse

router = APIRouter()


@router.get("/v1/costs", tags=["costs"])
async def costs(caller: CallerDep, services: ServicesDep) -> Response:
    """Return totals, averages, cost by model and the ten users who cost most."""
    return JsonResponse(await services.spend.costs(caller.tenant))


@router.get("/v1/cache/stats", tags=["cache"])
async def cache_stats(caller: CallerDep, services: ServicesDep) -> Response:
    """Return hits, misses and the hit rate of the caller's tenant."""
    return JsonResponse(await services.spend.cache_stats(caller.tenant))

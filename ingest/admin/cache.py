"""`GET /v1/cache/stats`: how often the cache had the answer."""

from fastapi import APIRouter
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.errors import outage
from ingest.services import ServicesDep
from streams.errors import ClickHouseUnavailable
from streams.serving.json_response import JsonResponse

router = APIRouter(tags=["cache"])


@router.get("/v1/cache/stats")
async def cache_stats(caller: CallerDep, services: ServicesDep) -> Response:
    """Return hits, misses and the hit rate of the caller's tenant."""
    try:
        return JsonResponse(await services.spend.cache_stats(caller.tenant))
    except ClickHouseUnavailable as fault:
        raise outage(fault, "ClickHouse") from fault

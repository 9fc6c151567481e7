"""`GET /v1/costs`: what the caller's tenant has spent."""

from fastapi import APIRouter
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.errors import outage
from ingest.services import ServicesDep
from streams.errors import ClickHouseUnavailable
from streams.serving.json_response import JsonResponse

router = APIRouter(tags=["costs"])


@router.get("/v1/costs")
async def costs(caller: CallerDep, services: ServicesDep) -> Response:
    """Return totals, averages, cost by model and the ten users who cost most."""
    try:
        return JsonResponse(await services.spend.costs(caller.tenant))
    except ClickHouseUnavailable as fault:
        raise outage(fault, "ClickHouse") from fault

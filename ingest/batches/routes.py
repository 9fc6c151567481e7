"""`/v1/batches`: many requests in one file, and one file with their answers."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.batches.answers import batch_object, result_line
from ingest.batches.lines import MAX_BATCH_BYTES, LineRules, check_file
from ingest.batches.progress import BatchProgress, batch_id_for
from ingest.errors import conflict
from ingest.follow.sse import TimedStream
from ingest.services import Services, ServicesDep
from ingest.submit.body import read_body
from ingest.submit.headers import cache_header, deadline_header, idempotency_key, user_header
from streams.serving.api_keys import Caller
from streams.serving.errors import REPLAYED
from streams.serving.json_response import JsonResponse
from streams.serving.openapi import errors

router = APIRouter(tags=["batches"])

#: The longest file that is allowed takes this long at 2 Mbit/s, in seconds.
_BODY_TIMEOUT_S = 120.0
_LINES = {
    "requestBody": {
        "required": True,
        "content": {"application/jsonl": {"schema": {"type": "string", "format": "binary"}}},
        "description": 'One line a request: {"custom_id", "method": "POST", "url", "body"}',
    }
}


class ResultsFile(TimedStream):
    """A results file, which is made as the client takes it."""

    media_type = "application/jsonl"


Partial = Annotated[bool, Query(description="what is there so far, before the end")]


@router.post("/v1/batches", status_code=202, openapi_extra=_LINES, responses=errors(409))
async def submit(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Accept a file of requests: all of them, or none if a line is wrong."""
    headers = request.headers
    batch_id = batch_id_for(caller.tenant, idempotency_key(headers))
    rules = LineRules(
        settings=services.settings,
        user=user_header(headers),
        deadline_ms=deadline_header(headers),
        cache=cache_header(headers),
    )
    with services.batches.receiving():
        data = await read_body(request, max_bytes=MAX_BATCH_BYTES, timeout_s=_BODY_TIMEOUT_S)
        file = await check_file(data, rules, tenant=caller.tenant)
        repeat = await services.batches.submit(
            batch_id, file, caller=caller, traceparent=headers.get("traceparent")
        )
    found = await services.batches.progress(batch_id, caller.tenant)
    body = batch_object(found, kept_s=services.settings.registry_ttl_s)
    marks = {"Location": body["url"]} | (REPLAYED if repeat else {})
    return JsonResponse(body, status_code=202, headers=marks)


@router.get("/v1/batches/{batch_id}", responses=errors(404))
async def fetch(batch_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Return how far a batch is."""
    return _described(await services.batches.progress(batch_id, caller.tenant), services)


@router.post("/v1/batches/{batch_id}/cancel", responses=errors(404, 409))
async def cancel(batch_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Cancel every line that has not ended, as `DELETE /v1/requests/{id}` cancels one."""
    return _described(await services.batches.cancel(batch_id, caller.tenant), services)


@router.get(
    "/v1/batches/{batch_id}/results", status_code=200, response_class=ResultsFile, responses=errors(404, 409)
)
async def results(
    batch_id: str, caller: CallerDep, services: ServicesDep, *, partial: Partial = False
) -> Response:
    """Stream the results in the order of the lines; by default once every line has ended."""
    return await _file(batch_id, caller, services, partial=partial)


@router.get(
    "/v1/batches/{batch_id}/errors", status_code=200, response_class=ResultsFile, responses=errors(404, 409)
)
async def failed_lines(
    batch_id: str, caller: CallerDep, services: ServicesDep, *, partial: Partial = False
) -> Response:
    """Stream what failed, and nothing else, in the order of the lines: what OpenAI calls the error file."""
    return await _file(batch_id, caller, services, partial=partial, errors_only=True)


def _described(found: BatchProgress, services: Services) -> Response:
    return JsonResponse(batch_object(found, kept_s=services.settings.registry_ttl_s))


async def _file(
    batch_id: str, caller: Caller, services: Services, *, partial: bool, errors_only: bool = False
) -> Response:
    found = await services.batches.progress(batch_id, caller.tenant)
    if not (partial or found.ended):
        raise conflict(
            f"the batch is {found.status}: ?partial=true gives the results that are there already",
            code="batch_in_progress",
            param="batch_id",
        )
    return ResultsFile(_result_lines(found, services, errors_only=errors_only))


async def _result_lines(
    found: BatchProgress, services: Services, *, errors_only: bool
) -> AsyncGenerator[bytes, None]:
    model = services.settings.default_model
    async with aclosing(services.batches.lines(found.batch)) as chunks:
        async for lines in chunks:
            yield b"".join(
                result_line(line, status=found.status, fallback_model=model, errors_only=errors_only)
                for line in lines
            )

"""`/v1/batches`: many requests in one file, and one file with their answers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ingest.auth import CallerDep
from ingest.batches.answers import batch_object, result_line
from ingest.batches.lines import MAX_BATCH_BYTES, LineRules, check_file
from ingest.batches.progress import Progress, batch_id_for
from ingest.errors import REPLAYED, conflict
from ingest.follow.sse import STALLED_S
from ingest.services import Services, ServicesDep
from ingest.submit.asking import deadline_header, user_header
from ingest.submit.body import read_body
from ingest.submit.caching import cache_header
from ingest.submit.identification import idempotency_key
from streams.serving.json_response import JsonResponse
from streams.serving.keys import Caller
from streams.serving.openapi import errors

log = structlog.get_logger(__name__)

router = APIRouter(tags=["batches"])

#: The longest file that is allowed takes this long at 2 Mbit/s.
_BODY_TIMEOUT_S = 120.0
_LINES = {
    "requestBody": {
        "required": True,
        "content": {"application/jsonl": {"schema": {"type": "string", "format": "binary"}}},
        "description": 'One line a request: {"custom_id", "method": "POST", "url", "body"}',
    }
}


@router.post("/v1/batches", status_code=202, openapi_extra=_LINES, responses=errors(409))
async def submit(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Accept a file of requests, all of them or, where a line is wrong, none."""
    batch_id = batch_id_for(caller.tenant, idempotency_key(request.headers))
    rules = LineRules(
        settings=services.settings,
        user=user_header(request),
        deadline_ms=deadline_header(request),
        cache=cache_header(request.headers),
    )
    with services.batches.receiving():
        data = await read_body(request, max_bytes=MAX_BATCH_BYTES, timeout_s=_BODY_TIMEOUT_S)
        file = await check_file(data, rules, tenant=caller.tenant)
        repeat = await services.batches.submit(
            batch_id, file, caller=caller, traceparent=request.headers.get("traceparent")
        )
    found = await services.batches.progress(batch_id, caller.tenant)
    body = batch_object(found, kept_s=services.settings.registry_ttl_s)
    headers = {"Location": body["url"]} | (REPLAYED if repeat else {})
    return JsonResponse(body, status_code=202, headers=headers)


@router.get("/v1/batches/{batch_id}", responses=errors(404))
async def fetch(batch_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Return how far a batch is."""
    return _described(await services.batches.progress(batch_id, caller.tenant), services)


@router.post("/v1/batches/{batch_id}/cancel", responses=errors(404, 409))
async def cancel(batch_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Cancel every line that has not ended, as `DELETE /v1/requests/{id}` cancels one."""
    return _described(await services.batches.cancel(batch_id, caller.tenant), services)


def _described(found: Progress, services: Services) -> Response:
    return JsonResponse(batch_object(found, kept_s=services.settings.registry_ttl_s))


async def _results(found: Progress, services: Services, *, errors_only: bool) -> AsyncGenerator[bytes, None]:
    model = services.settings.default_model
    async with aclosing(services.batches.lines(found.batch)) as pieces:
        async for lines in pieces:
            yield b"".join(
                result_line(line, status=found.status, fallback_model=model, errors_only=errors_only)
                for line in lines
            )


class ResultsFile(StreamingResponse):
    """A file that is made as the client takes it, one piece of it in memory at a time.

    A fault in its midst breaks the connection, so that the client cannot take what it has for the whole.

    Args:
        pieces: of the file.
        stalled_s: how long the client may leave one piece lying, in seconds.
    """

    media_type = "application/jsonl"

    def __init__(self, pieces: AsyncGenerator[bytes, None], *, stalled_s: float = STALLED_S) -> None:
        super().__init__(pieces)
        self._pieces = pieces
        self._stalled_s = stalled_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""

        async def impatient_send(message: Message) -> None:
            try:
                async with asyncio.timeout(self._stalled_s):
                    await send(message)
            except TimeoutError as fault:
                raise _Stalled from fault

        async with aclosing(self._pieces):
            try:
                await super().__call__(scope, receive, impatient_send)
            except _Stalled:
                log.info("batches.client_stalled", stalled_s=self._stalled_s)


class _Stalled(Exception):
    """The client does not read."""


@router.get(
    "/v1/batches/{batch_id}/results", status_code=200, response_class=ResultsFile, responses=errors(404, 409)
)
async def results(
    batch_id: str,
    caller: CallerDep,
    services: ServicesDep,
    *,
    partial: Annotated[bool, Query(description="what is there so far, before the end")] = False,
) -> Response:
    """Stream the results in the order of the lines; by default once every line has ended."""
    return await _file(batch_id, caller, services, partial=partial)


@router.get(
    "/v1/batches/{batch_id}/errors", status_code=200, response_class=ResultsFile, responses=errors(404, 409)
)
async def failed_lines(
    batch_id: str,
    caller: CallerDep,
    services: ServicesDep,
    *,
    partial: Annotated[bool, Query(description="what is there so far, before the end")] = False,
) -> Response:
    """Stream what failed, and nothing else, in the order of the lines: what OpenAI calls the error file."""
    return await _file(batch_id, caller, services, partial=partial, errors_only=True)


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
    return ResultsFile(_results(found, services, errors_only=errors_only))

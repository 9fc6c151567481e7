"""`/v1/batches`: many requests in one file, and one file with their answers.

A batch reads as OpenAI's batch object as far as it is true here.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingest.auth import ReaderDep, SenderDep
from ingest.batches.batch import BatchProgress, BatchStatus, FoundLine, batch_id_for
from ingest.batches.lines import MAX_BATCH_BYTES, LineRules, check_file
from ingest.errors import conflict, failure_of, status_of
from ingest.follow.sse import TimedStream
from ingest.openai.chat_completions import completion
from ingest.services import Services, ServicesDep
from ingest.submit.http_message import cache_header, deadline_header, idempotency_key, read_body, user_header
from streams.events import Reply
from streams.registry.entries import reply_view
from streams.registry.registry import RequestState
from streams.serving.api_keys import Caller
from streams.serving.fastapi_errors import errors
from streams.serving.responses import REPLAYED, JsonResponse, error_body, to_json

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
Partial = Annotated[bool, Query(description="what is there so far, before the end")]
_INTERRUPTED = {
    "code": "submission_interrupted",
    "message": "not every line was accepted: send the same batch again with the same Idempotency-Key",
}
_CANCELLED = {"code": "batch_cancelled", "message": "the batch was cancelled before the line was accepted"}
#: Why a line that was never accepted has failed, by the status of its batch.
_NOT_ACCEPTED: dict[BatchStatus, dict[str, str]] = {
    BatchStatus.CANCELLED: _CANCELLED,
    BatchStatus.CANCELLING: _CANCELLED,
    BatchStatus.FAILED: _INTERRUPTED,
}


class ResultsFile(TimedStream):
    """A results file, which is made as the client takes it."""

    media_type = "application/jsonl"


@router.post("/v1/batches", status_code=202, openapi_extra=_LINES, responses=errors(409, 429))
async def submit(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
    """Accept a file of requests: all of them, or none if a line is wrong."""
    headers = request.headers
    batch_id = batch_id_for(caller.tenant, idempotency_key(headers))
    rules = LineRules(
        settings=services.settings,
        catalogue=services.models.current,
        caller=caller,
        user=user_header(headers),
        deadline_ms=deadline_header(headers),
        cache=cache_header(headers),
    )
    with services.batches.receiving():
        data = await read_body(request, max_bytes=MAX_BATCH_BYTES, timeout_s=_BODY_TIMEOUT_S)
        file = await check_file(data, rules, tenant=caller.tenant)
        await services.limits.admit_batch(request, caller, batch_id, file)
        repeat = await services.batches.submit(
            batch_id, file, caller=caller, traceparent=headers.get("traceparent")
        )
    found = await services.batches.progress(batch_id, caller.tenant)
    body = batch_object(found, kept_s=services.settings.registry_ttl_s)
    marks = {"Location": body["url"]} | (REPLAYED if repeat else {})
    return JsonResponse(body, status_code=202, headers=marks)


@router.get("/v1/batches/{batch_id}", responses=errors(404))
async def fetch(batch_id: str, caller: ReaderDep, services: ServicesDep) -> Response:
    """Return how far a batch is."""
    return _described(await services.batches.progress(batch_id, caller.tenant), services)


@router.post("/v1/batches/{batch_id}/cancel", responses=errors(404, 409))
async def cancel(batch_id: str, caller: SenderDep, services: ServicesDep) -> Response:
    """Cancel every line that has not ended, as `DELETE /v1/requests/{id}` cancels one."""
    return _described(await services.batches.cancel(batch_id, caller.tenant), services)


@router.get(
    "/v1/batches/{batch_id}/results", status_code=200, response_class=ResultsFile, responses=errors(404, 409)
)
async def results(
    batch_id: str, caller: ReaderDep, services: ServicesDep, *, partial: Partial = False
) -> Response:
    """Stream the results in the order of the lines; by default once every line has ended."""
    return await _file(batch_id, caller, services, partial=partial)


@router.get(
    "/v1/batches/{batch_id}/errors", status_code=200, response_class=ResultsFile, responses=errors(404, 409)
)
async def failed_lines(
    batch_id: str, caller: ReaderDep, services: ServicesDep, *, partial: Partial = False
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
    model = services.settings.default_model

    async def written() -> AsyncGenerator[bytes, None]:
        async with aclosing(services.batches.lines(found.batch)) as chunks:
            async for lines in chunks:
                yield b"".join(
                    result_line(line, status=found.status, fallback_model=model, errors_only=errors_only)
                    for line in lines
                )

    return ResultsFile(written())


def batch_object(found: BatchProgress, *, kept_s: int) -> dict[str, Any]:
    """Return the batch object. Times are Unix time in seconds."""
    batch = found.batch
    urls = {name.url for name in batch.names}
    faults = [{**_INTERRUPTED, "param": None, "line": None}]
    path = f"/v1/batches/{batch.batch_id}"
    return {
        "id": batch.batch_id,
        "object": "batch",
        "endpoint": urls.pop() if len(urls) == 1 else None,
        "errors": {"object": "list", "data": faults} if found.status is BatchStatus.FAILED else None,
        "status": found.status,
        "created_at": int(batch.created_at.timestamp()),
        "in_progress_at": int(batch.accepted_at.timestamp()) if batch.accepted_at else None,
        "cancelling_at": int(batch.cancelled_at.timestamp()) if batch.cancelled_at else None,
        "expires_at": int((batch.created_at + timedelta(seconds=kept_s)).timestamp()),
        "request_counts": {
            "total": len(batch.names),
            "completed": found.completed,
            "failed": found.failed,
        },
        "requests_in_progress": found.open,
        "url": path,
        "results_url": f"{path}/results",
        "errors_url": f"{path}/errors",
    }


def result_line(
    line: FoundLine, *, status: BatchStatus, fallback_model: str, errors_only: bool = False
) -> bytes:
    """Return a line of the output file, or of the error file (`errors_only`); nothing before it has ended."""
    result: dict[str, Any] = {"id": f"batch_req_{line.request_id}", "custom_id": line.name.custom_id}
    if line.state is None and status in _NOT_ACCEPTED:
        return to_json(result | {"response": None, "error": _NOT_ACCEPTED[status]}) + b"\n"
    if line.state is None or line.state.reply is None:
        return b""
    error = failure_of(line.state.reply)
    if error is None and errors_only:
        return b""
    result["response"] = {
        "status_code": status_of(error) if error else 200,
        "request_id": line.request_id,
        "body": _body(line, line.state, line.state.reply, fallback_model),
    }
    result["error"] = {"code": error.code, "message": error.message} if error else None
    return to_json(result) + b"\n"


def _body(line: FoundLine, state: RequestState, reply: Reply, fallback_model: str) -> dict[str, Any]:
    if line.name.url == "/v1/requests":
        return reply_view(reply)
    error = failure_of(reply)
    if error is not None:
        return error_body(error, line.request_id)
    return completion(
        reply,
        created=int(state.registered_at.timestamp()),
        fallback_model=fallback_model,
        latency_ms=sum(timing.queue_us + timing.work_us for timing in reply.timings) / 1000,
    )

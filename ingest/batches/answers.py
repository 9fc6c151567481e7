"""How a batch reads over HTTP: OpenAI's batch object as far as it is true here, and its files."""

from datetime import timedelta
from typing import Any

from ingest.batches.progress import BatchProgress, BatchStatus, FoundLine
from ingest.errors import failure_of, status_of
from ingest.openai.chat_answers import completion
from streams.events import Reply
from streams.registry.entries import reply_view
from streams.registry.registry import RequestState
from streams.serving.errors import error_body
from streams.serving.json_response import to_json

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

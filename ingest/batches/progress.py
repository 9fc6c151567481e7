"""The status of a batch, computed from its record and the states of its requests. Without I/O."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from ingest.batches.lines import LineName
from ingest.batches.store import Batch
from streams.events import Status
from streams.registry.registry import RequestState, RequestSummary

#: How long accepting a batch may take, in seconds; a longer one is cut off, and goes on when it is sent
#: again. 10,000 lines take about 15 s.
SUBMIT_TIMEOUT_S = 240.0

#: Namespaces of the ids of batches that come from idempotency keys, and of lines (RFC 9562, version 5). Never
#: change them: the same batch must have the same ids after every upgrade.
_BATCHES = uuid.UUID("0b6f5bd4-5c0e-5a55-8a6b-6f5a3c1d7e21")
_LINES = uuid.UUID("c3f1a0de-91a7-5f0b-b1c9-2d64a7e85f90")
_LATER_RUNS = uuid.UUID("1f0c6c57-7d0f-5a7e-8a39-9d2f1c3b5e64")

_FAILURES = frozenset({Status.DEGRADED, Status.FAILED, Status.CANCELLED})


class BatchStatus(StrEnum):
    """How far a batch is, in OpenAI's words."""

    VALIDATING = "validating"  # its lines are being accepted
    FAILED = "failed"  # that was interrupted: some of its lines may have been accepted
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"  # every line has its reply
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"  # no line is open; those that ended before have their replies


#: In these, a line that was not accepted never will be, unless the batch is sent again.
_ACCEPTS_NO_MORE = frozenset({BatchStatus.FAILED, BatchStatus.CANCELLING, BatchStatus.CANCELLED})


class BatchProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, how far it is, and how many of its lines are in each state."""

    batch: Batch
    status: BatchStatus
    completed: int
    failed: int  # ended without an answer, or will never be accepted
    open: int

    @property
    def ended(self) -> bool:
        """Whether nothing of it is open any more."""
        return self.status in (BatchStatus.COMPLETED, BatchStatus.CANCELLED)


class FoundLine(msgspec.Struct, frozen=True):
    """A line of a batch, and where its request stands; None if that is not known."""

    name: LineName
    request_id: str
    state: RequestState | None


def batch_id_for(tenant: str, idempotency_key: str | None) -> str:
    """Return the id of a batch: the same for the same key of the same tenant, else a new one."""
    if idempotency_key is None:
        return f"batch_{uuid.uuid4().hex}"
    return f"batch_{uuid.uuid5(_BATCHES, f'{len(tenant)}:{tenant}:{idempotency_key}').hex}"


def line_request_id(batch: Batch, name: LineName) -> str:
    """Return the id of a line's request: the same for each run of the line, whenever the batch is sent."""
    line = f"{len(batch.tenant)}:{batch.tenant}:{batch.batch_id}:{name.custom_id}"
    run = batch.runs.get(name.custom_id, 1)
    return str(uuid.uuid5(_LINES, line) if run == 1 else uuid.uuid5(_LATER_RUNS, f"{run}:{line}"))


def runs_anew(batch: Batch, seen: Sequence[RequestSummary | None]) -> dict[str, int]:
    """Return the runs of the batch's lines once those that failed at no cost are run anew."""
    again = {
        name.custom_id: batch.runs.get(name.custom_id, 1) + 1
        for name, summary in zip(batch.names, seen, strict=True)
        if summary is not None and summary.anew
    }
    return batch.runs | again


def progress_of(batch: Batch, seen: Sequence[RequestSummary | None], now: datetime) -> BatchProgress:
    """Return how far a batch is, from how each line's request stands; None for one that is not known."""
    ended = [summary for summary in seen if summary is not None and summary.status is not None]
    running = sum(summary is not None for summary in seen) - len(ended)
    failed = sum(map(_has_failed, ended))
    status = _status_of(batch, is_running=running > 0, all_ended=len(ended) == len(batch.names), now=now)
    unknown = len(batch.names) - len(ended) - running
    lost = unknown if status in _ACCEPTS_NO_MORE else 0
    return BatchProgress(
        batch=batch,
        status=status,
        completed=len(ended) - failed,
        failed=failed + lost,
        open=running + unknown - lost,
    )


def _status_of(batch: Batch, *, is_running: bool, all_ended: bool, now: datetime) -> BatchStatus:
    if batch.cancelled_at is not None:
        return BatchStatus.CANCELLING if is_running else BatchStatus.CANCELLED
    if batch.accepted_at is None:
        may_be_running = now - batch.submitted_at < timedelta(seconds=SUBMIT_TIMEOUT_S)
        return BatchStatus.VALIDATING if may_be_running else BatchStatus.FAILED
    return BatchStatus.COMPLETED if all_ended else BatchStatus.IN_PROGRESS


def _has_failed(seen: RequestSummary) -> bool:
    """Whether a request has ended without an answer: for what `ingest.errors.failure_of` has an error."""
    blocked = seen.status is Status.BLOCKED and not seen.has_text
    return blocked or seen.status in _FAILURES

"""A batch: its record in Redis, and its status, computed from the record and the states of its requests.

The record has whose it is, its lines' names, and how far its submission came. It expires `ttl_s` after it was
first written, so before any of its requests' entries.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from ingest.batches.lines import LineName
from streams.errors import StoreFull
from streams.events import Status
from streams.redis.connection import store_faults
from streams.redis.keys import BATCH, digest
from streams.redis.memory import HasRoom
from streams.registry.registry import RequestState, RequestSummary

_FOUND = ["tenant", "digest", "lines", "runs", "created_at", "submitted_at", "accepted_at", "cancelled_at"]

_BEGIN = """
local key, tenant, digest, lines, at, ttl = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key, 'tenant', tenant, 'digest', digest, 'lines', lines, 'created_at', at)
  redis.call('EXPIRE', key, ttl)
end
if redis.call('HGET', key, 'digest') == digest then redis.call('HSET', key, 'submitted_at', at) end
"""
_MARK = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) end
"""
_RERUN = """
local key, before, after, at = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', key) == 1 and (redis.call('HGET', key, 'runs') or '{}') == before then
  redis.call('HSET', key, 'runs', after, 'submitted_at', at)
  redis.call('HDEL', key, 'accepted_at')
end
"""
#: How long accepting a batch may take, in seconds; a longer one is cut off, and goes on when it is sent
#: again. 10,000 lines take about 15 s.
SUBMIT_TIMEOUT_S = 240.0
#: Namespaces of the ids of batches that come from idempotency keys, and of lines (RFC 9562, version 5). Never
#: change them: the same batch must have the same ids after every upgrade.
_BATCHES = uuid.UUID("0b6f5bd4-5c0e-5a55-8a6b-6f5a3c1d7e21")
_LINES = uuid.UUID("c3f1a0de-91a7-5f0b-b1c9-2d64a7e85f90")
_LATER_RUNS = uuid.UUID("1f0c6c57-7d0f-5a7e-8a39-9d2f1c3b5e64")
_FAILURES = frozenset({Status.DEGRADED, Status.FAILED, Status.CANCELLED})


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch; `runs` has the newest run of each line that is not at its first, by custom id."""

    batch_id: str
    tenant: str
    digest: str
    names: tuple[LineName, ...]
    created_at: datetime
    submitted_at: datetime
    accepted_at: datetime | None = None
    cancelled_at: datetime | None = None
    runs: dict[str, int] = {}


class BatchStore:
    """The records of batches. Every method raises `StoreUnavailable` if Redis does not answer in time."""

    def __init__(self, redis: Redis, *, ttl_s: int, has_room: HasRoom = lambda: True) -> None:
        self._redis = redis
        self._has_room = has_room
        self._ttl_s = ttl_s
        self._begin = redis.register_script(_BEGIN)
        self._mark = redis.register_script(_MARK)
        self._rerun = redis.register_script(_RERUN)

    async def begin(self, batch_id: str, *, tenant: str, digest: str, names: tuple[LineName, ...]) -> Batch:
        """Record a batch before its first line is submitted, and return it; `StoreFull` without memory.

        If one of this id was sent before, that one is returned: its digest differs if it asks something else.
        """
        if not self._has_room():
            raise StoreFull("Redis: beginning a batch failed: its memory is nearly full")
        now = datetime.now(UTC)
        lines = msgspec.json.encode(names)
        with store_faults("beginning a batch"):
            await self._begin(
                keys=[batch_key(batch_id)], args=[tenant, digest, lines, now.isoformat(), self._ttl_s]
            )
        found = await self.find(batch_id)
        return found or Batch(
            batch_id=batch_id, tenant=tenant, digest=digest, names=names, created_at=now, submitted_at=now
        )

    async def accept(self, batch_id: str) -> Batch | None:
        """Note that every line was accepted, and return the batch."""
        return await self._note(batch_id, "accepted_at")

    async def cancel(self, batch_id: str) -> Batch | None:
        """Note that the batch is to be cancelled, and return it."""
        return await self._note(batch_id, "cancelled_at")

    async def rerun(self, batch: Batch, runs: dict[str, int]) -> Batch | None:
        """Begin new runs of some lines, unless somebody else has since `batch` was read; return the batch.

        It counts as not accepted until every new run is.
        """
        now = datetime.now(UTC).isoformat()
        with store_faults("running lines of a batch anew"):
            await self._rerun(
                keys=[batch_key(batch.batch_id)], args=[_runs_json(batch.runs), _runs_json(runs), now]
            )
        return await self.find(batch.batch_id)

    async def find(self, batch_id: str) -> Batch | None:
        """Return a batch, or None if there is none (or it was long ago)."""
        with store_faults("finding a batch"):
            fields = await self._redis.hmget(batch_key(batch_id), _FOUND)
        tenant, digest, lines, runs, *times = (
            field.decode() if isinstance(field, bytes) else field for field in fields
        )
        if lines is None:
            return None
        created, submitted, accepted, cancelled = (datetime.fromisoformat(at) if at else None for at in times)
        return Batch(
            batch_id=batch_id,
            tenant=tenant or "",
            digest=digest or "",
            names=msgspec.json.decode(lines, type=tuple[LineName, ...]),
            created_at=created or datetime.now(UTC),
            submitted_at=submitted or created or datetime.now(UTC),
            accepted_at=accepted,
            cancelled_at=cancelled,
            runs=msgspec.json.decode(runs, type=dict[str, int]) if runs else {},
        )

    async def _note(self, batch_id: str, field: str) -> Batch | None:
        with store_faults("noting a step of a batch"):
            await self._mark(keys=[batch_key(batch_id)], args=[field, datetime.now(UTC).isoformat()])
        return await self.find(batch_id)


def batch_key(batch_id: str) -> str:
    """Return the key of a batch's record, a hash."""
    return BATCH.key(digest(batch_id))


def _runs_json(runs: dict[str, int]) -> bytes:
    return msgspec.json.encode(runs, order="deterministic")


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

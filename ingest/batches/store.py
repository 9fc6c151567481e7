"""The record of a batch in Redis: whose it is, its lines' names, and how far its submission came.

The registry knows how far its requests are. A record expires `ttl_s` after it was first written, so before
any of its requests' entries.
"""

from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis

from ingest.batches.lines import LineName
from streams.errors import StoreFull
from streams.redis.connection import store_faults
from streams.redis.keys import BATCH, digest
from streams.redis.memory import HasRoom

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

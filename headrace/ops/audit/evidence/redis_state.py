"""Which requests without a terminal reply Redis knows, and the calls in their journals."""

from collections.abc import Iterable, Sequence

import msgspec
from redis.asyncio import Redis

from agents.stores.journal import journal_key
from headrace.ops.audit.evidence.records import RedisEvidence
from headrace.ops.batches import in_batches
from streams.redis.connection import store_faults
from streams.registry.registry import request_key

_IDS_A_PIPELINE = 500
_CALL_FIELDS = (b"begun:", b"ended:")


class _JournaledCall(msgspec.Struct, frozen=True):
    call_id: str


async def read_redis(redis: Redis, request_ids: Iterable[str]) -> RedisEvidence:
    """Return what the registry and the journal know of these requests."""
    evidence = RedisEvidence()
    with store_faults("reading the registry and the journal"):
        await redis.ping()  # so that one that is away is noticed, even where nothing is asked
        for ids in in_batches(request_ids, _IDS_A_PIPELINE):
            await _read(redis, ids, evidence)
    return evidence


async def _read(redis: Redis, ids: Sequence[str], evidence: RedisEvidence) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for request_id in ids:
            pipeline.hexists(request_key(request_id), "state")
            pipeline.hgetall(journal_key(request_id))
        found = await pipeline.execute()
    evidence.known += sum(found[::2])
    for journal in found[1::2]:
        for name, value in journal.items():
            if name.startswith(_CALL_FIELDS):
                evidence.open_calls.add(msgspec.json.decode(value, type=_JournaledCall).call_id)

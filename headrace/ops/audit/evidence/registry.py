"""Where requests without a terminal reply stand in Redis, and the calls that their journals know of."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec
from redis.asyncio import Redis

from agents.stores.journal import journal_key
from headrace.ops.audit.evidence.records import RegistryBooks
from streams.redis.connection import store_faults
from streams.registry.registry import request_key

_IDS_A_PIPELINE = 500
_CALL_FIELDS = (b"begun:", b"ended:")


class _Call(msgspec.Struct, frozen=True):
    call_id: str


class RegistryReader:
    """Reads the registry and the journal, many keys at a time.

    Args:
        redis: the client; its timeouts bound every step.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self, request_ids: Iterable[str]) -> RegistryBooks:
        """Return what Redis knows of these requests; those that it does not know are left out.

        Raises:
            StoreUnavailable: Redis does not answer in time.
        """
        books = RegistryBooks()
        with store_faults("looking for Redis"):
            await self._redis.ping()  # so that one that is away is noticed, even where nothing is asked
        for ids in _batches(request_ids):
            await self._read(ids, books)
        return books

    async def _read(self, ids: Sequence[str], books: RegistryBooks) -> None:
        with store_faults("reading the registry and the journal"):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for request_id in ids:
                    pipeline.hmget(request_key(request_id), ["state", "cancelled"])
                    pipeline.hgetall(journal_key(request_id))
                found = await pipeline.execute()
        for request_id, (state, cancelled), journal in zip(ids, found[::2], found[1::2], strict=True):
            if state is not None:
                books.standings[request_id] = state.decode() + (", cancelled" if cancelled else "")
            for name, value in journal.items():
                if name.startswith(_CALL_FIELDS):
                    books.open_calls.add(msgspec.json.decode(value, type=_Call).call_id)


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while batch := list(islice(rest, _IDS_A_PIPELINE)):
        yield batch

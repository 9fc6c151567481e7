"""Answers that may be given again, in Redis: exact by key, semantic by vector set.

One vector set per scope; the scope isolates whatever must not be mixed (tenant, model route, prompt
version, conversation). An entry is the answer under its own key with a time to live, its vector, and
its place in the tenant's index, by which the size of the cache is bounded.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from redis.asyncio import Redis

from streams.events import CacheSlot
from streams.store import store_faults

_PREFIX = "headrace:cache:"
_CANDIDATES = 3
_EVICT_AT_ONCE = 64


# One step, or two writers at once would each take out what the other has already made room for.
_TAKE_OUT = """
local index, now, most, at_once = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local leaving = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, at_once)
local surplus = math.min(redis.call('ZCARD', index) - #leaving - most, at_once)
if surplus > 0 then
  for _, member in ipairs(redis.call('ZRANGE', index, #leaving, #leaving + surplus - 1)) do
    leaving[#leaving + 1] = member
  end
end
if #leaving > 0 then redis.call('ZREM', index, unpack(leaving)) end
return leaving
"""


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer and where it came from. `text` is the query that it answered."""

    request_id: str
    text: str
    content: str
    model: str
    provider: str | None
    finish_reason: str
    cached_at: datetime


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A stored answer to a similar query. `similarity` is the cosine of the two queries."""

    answer: CachedAnswer
    similarity: float


class AnswerCache:
    """The cache's store. Every method raises `StoreUnavailable` where Redis does not answer.

    Args:
        redis: the client.
        ttl_s: how long an answer may be given again, in seconds.
        max_entries: how many answers are kept per tenant; the oldest leave first.
        clock: seconds since the epoch.
    """

    def __init__(
        self, redis: Redis, *, ttl_s: int, max_entries: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis: Any = redis  # its stubs know neither vector sets nor bytes from strings
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._clock = clock
        self._take_out = self._redis.register_script(_TAKE_OUT)

    async def exact(self, slot: CacheSlot) -> CachedAnswer | None:
        """Return the answer to exactly this query, or None."""
        with store_faults("reading the cache"):
            data = await self._redis.get(_answer_key(slot.scope, slot.exact_key))
        return _decode(data)

    async def similar(self, slot: CacheSlot) -> list[Candidate]:
        """Return the answers to the most similar queries of the scope, most similar first."""
        if slot.vector is None:
            return []
        with store_faults("searching the cache"):
            found = await self._redis.execute_command(
                "VSIM", _vectors_key(slot.scope), "FP32", slot.vector, "WITHSCORES", "COUNT", _CANDIDATES
            )
            scores = _scores(found)
            if not scores:
                return []
            names = list(scores)
            answers = await self._redis.mget([_answer_key(slot.scope, name) for name in names])
            gone = [name for name, data in zip(names, answers, strict=True) if data is None]
            if gone:
                await self._forget(slot.scope, gone)
        return [
            # A vector set scores (cosine + 1) / 2.
            Candidate(answer=answer, similarity=2 * scores[name] - 1)
            for name, data in zip(names, answers, strict=True)
            if (answer := _decode(data)) is not None
        ]

    async def put(self, slot: CacheSlot, answer: CachedAnswer, *, tenant: str) -> None:
        """Keep an answer. An earlier one to the same query is replaced."""
        now = self._clock()
        with store_faults("writing the cache"):
            async with self._redis.pipeline(transaction=True) as pipe:
                key = _answer_key(slot.scope, slot.exact_key)
                pipe.set(key, msgspec.json.encode(answer), ex=self._ttl_s)
                pipe.zadd(_index_key(tenant), {f"{slot.scope} {slot.exact_key}": now + self._ttl_s})
                if slot.vector is not None:
                    vectors = _vectors_key(slot.scope)
                    pipe.execute_command("VADD", vectors, "FP32", slot.vector, slot.exact_key)
                    pipe.expire(vectors, self._ttl_s)
                pipe.zcount(_index_key(tenant), "-inf", now)
                pipe.zcard(_index_key(tenant))
                *_, expired, entries = await pipe.execute()
            if expired or entries > self._max_entries:
                await self._make_room(tenant, now)

    async def entries(self, tenant: str) -> int:
        """Return how many answers of a tenant can be given again."""
        with store_faults("counting the cache"):
            return int(await self._redis.zcount(_index_key(tenant), self._clock(), "+inf"))

    async def _make_room(self, tenant: str, now: float) -> None:
        """Remove what expired, and of the rest what expires first."""
        leaving = await self._take_out(
            keys=[_index_key(tenant)], args=[now, self._max_entries, _EVICT_AT_ONCE]
        )
        if not leaving:
            return
        async with self._redis.pipeline(transaction=True) as pipe:
            for member in leaving:
                scope, _, name = member.decode().partition(" ")
                pipe.execute_command("VREM", _vectors_key(scope), name)
                pipe.delete(_answer_key(scope, name))
            await pipe.execute()

    async def _forget(self, scope: str, names: list[str]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.execute_command("VREM", _vectors_key(scope), name)
            await pipe.execute()


def _scores(found: object) -> dict[str, float]:
    """Return the elements of a VSIM answer: a flat list in RESP2, a map in RESP3."""
    if isinstance(found, dict):
        return {_text(name): float(score) for name, score in found.items()}
    if isinstance(found, list):
        return {_text(name): float(score) for name, score in zip(found[::2], found[1::2], strict=True)}
    return {}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _decode(data: bytes | str | None) -> CachedAnswer | None:
    try:
        return msgspec.json.decode(data, type=CachedAnswer) if data is not None else None
    except msgspec.DecodeError:
        return None  # another version of Headrace wrote it


def _answer_key(scope: str, name: str) -> str:
    return f"{_PREFIX}answer:{scope}:{name}"


def _vectors_key(scope: str) -> str:
    return f"{_PREFIX}vectors:{scope}"


def _index_key(tenant: str) -> str:
    return f"{_PREFIX}entries:{tenant}"

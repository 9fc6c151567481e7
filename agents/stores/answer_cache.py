"""Answers that may be given again, in Redis: exact by key, similar by vector set.

Each scope has one vector set. A scope keeps tenants, models, prompt versions and conversations apart. An
entry has three parts: the answer under its own key with a time to live, its static vector, and its place in
the tenant's index, which bounds the number of entries. The embedding of its text is an attribute of the
static vector, once somebody has computed it, and leaves with it. When Redis is low on memory, no answer is
stored, and `AnswerCache.shrink` removes entries.
"""

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from redis.asyncio import Redis

from streams.events import CacheSlot
from streams.redis.connection import store_faults
from streams.redis.keys import (
    CACHE_ANSWER,
    CACHE_ENTRIES,
    CACHE_MISSED,
    CACHE_TENANTS,
    CACHE_VECTORS,
    digest,
)
from streams.redis.memory import HasRoom

_CANDIDATES = 8
#: A longer answer is not kept: its model's most tokens are some 100 kB.
_MAX_ANSWER_BYTES = 256 * 1024
_EVICT_AT_ONCE = 64
#: About 10 MB a second: Redis's memory is looked at once a second.
_SHRINK_BY = 2_048
#: Longer than the longest deadline: no record is delivered again after it.
_MISS_TTL_S = 24 * 3600


# Returns whether the miss is noted, the answer, and the similar entries. Where nothing is found, it notes the
# miss. A similar entry without an answer has expired: it leaves the vector set.
_LOOK_UP = """
local answer, missed, vectors = KEYS[1], KEYS[2], KEYS[3]
local vector, most, least, prefix = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local any_age, ttl = ARGV[5], ARGV[6]
if redis.call('EXISTS', missed) == 1 then return {1, false, {}} end
local exact = redis.call('GET', answer)
if exact and any_age == '1' then return {0, exact, {}} end
local found, similar = {}, {}
if vector ~= '' then
  found = redis.call('VSIM', vectors, 'FP32', vector, 'WITHSCORES', 'COUNT', most)
end
for place = 1, #found, 2 do
  local name, score = found[place], found[place + 1]
  if tonumber(score) < least then break end
  local answer = redis.call('GET', prefix .. name)
  if answer then
    similar[#similar + 1] = {name, score, answer, redis.call('VGETATTR', vectors, name)}
  else
    redis.call('VREM', vectors, name)
  end
end
if exact or #similar > 0 then return {0, exact, similar} end
local noted = redis.pcall('SET', missed, '', 'EX', ttl)
return {noted.err and 0 or 1, false, {}}
"""

# Takes entries out of an index and counts what is left. The index is one key: what it names leaves after it.
_TAKEN_OUT = """
local function taken_out(index, tenants, leaving)
  if #leaving > 0 then redis.call('ZREM', index, unpack(leaving)) end
  local left = redis.call('ZCARD', index)
  if left > 0 then redis.call('ZADD', tenants, left, index) else redis.call('ZREM', tenants, index) end
  return leaving
end
"""

# Returns the entries that leave for the new one: what expired, and of the rest what expires first. In the
# same step, or two writers at once would each take out what the other has already made room for.
_PUT = (
    _TAKEN_OUT
    + """
local answer, index, vectors, tenants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local data, member, name, vector, embedding = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local now, ends, ttl, most, at_once = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
redis.call('SET', answer, data, 'EX', ttl)
redis.call('ZADD', index, ends, member)
if vector ~= '' then
  redis.call('VADD', vectors, 'FP32', vector, name)
  if embedding ~= '' then redis.call('VSETATTR', vectors, name, embedding) end
  redis.call('EXPIRE', vectors, ttl)
end
local leaving = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, at_once)
local surplus = math.min(redis.call('ZCARD', index) - #leaving - most, at_once)
if surplus > 0 then
  for _, each in ipairs(redis.call('ZRANGE', index, #leaving, #leaving + surplus - 1)) do
    leaving[#leaving + 1] = each
  end
end
taken_out(index, tenants, leaving)
redis.call('EXPIRE', index, ttl)
redis.call('EXPIRE', tenants, ttl)
return leaving
"""
)

# Returns the entries that leave to make room: of the tenant that has most, those that expire first.
_SHRINK = (
    _TAKEN_OUT
    + """
local tenants, at_once = KEYS[1], tonumber(ARGV[1])
local index = redis.call('ZRANGE', tenants, -1, -1)[1]
if not index then return {} end
return taken_out(index, tenants, redis.call('ZRANGE', index, 0, at_once - 1))
"""
)


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer and where it came from. `text` is the query that it answered."""

    request_id: str
    text: str
    content: str
    model: str
    provider: str | None
    finish_reason: str
    cached_at: datetime


class CacheCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """An entry near a query. `static_cosine` is that of the static vectors, `vector` its text's embedding.

    `vector` is None where nobody has computed it yet; `keep_vectors` stores it under `name`.
    """

    name: str
    static_cosine: float
    answer: CachedAnswer
    vector: bytes | None = None


class CacheFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache has for a question: an answer to exactly it, and entries near it, highest cosine first.

    `missed`: it is noted that the request goes to a model, so it must not be answered from the cache as well.
    """

    exact: CachedAnswer | None = None
    similar: tuple[CacheCandidate, ...] = ()
    missed: bool = False


class AnswerCache:
    """The cache's store. Every method raises `StoreUnavailable` where Redis does not answer.

    An answer may be given again for `ttl_s` seconds. Of a tenant's answers beyond `max_entries`, those that
    expire first leave.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        ttl_s: int,
        max_entries: int,
        has_room: HasRoom = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis: Any = redis  # its stubs know neither vector sets nor bytes from strings
        self._has_room = has_room
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._clock = clock
        self._look_up: Any = self._redis.register_script(_LOOK_UP)
        self._put: Any = self._redis.register_script(_PUT)
        self._shrink = self._redis.register_script(_SHRINK)

    async def look_up(
        self, slot: CacheSlot, *, asker: str, least: float, any_age: bool = True
    ) -> CacheFinding:
        """Return what may answer a question. Similar entries have a static cosine of at least `least`.

        They are looked for where there is no exact answer, or it may be too old (not `any_age`). If there is
        nothing, the miss of this `asker` is noted in the same step; from then on it finds nothing.
        """
        # A vector set scores (cosine + 1) / 2.
        near = [slot.static_vector or b"", _CANDIDATES, (least + 1) / 2, answer_key(slot.scope, "")]
        keys = [answer_key(slot.scope, slot.exact_key), _missed_key(asker), vectors_key(slot.scope)]
        with store_faults("reading the cache"):
            missed, exact, similar = await self._look_up(keys=keys, args=[*near, int(any_age), _MISS_TTL_S])
        candidates = [
            CacheCandidate(
                name=name.decode(),
                static_cosine=2 * float(score) - 1,
                answer=answer,
                vector=b64decode(attribute[1:-1]) if attribute else None,
            )
            for name, score, data, attribute in similar
            if (answer := _decode(data)) is not None
        ]
        return CacheFinding(exact=_decode(exact), similar=tuple(candidates), missed=bool(missed))

    async def note_miss(self, asker: str) -> None:
        """Note that a request goes to a model now: it must not be answered from the cache as well."""
        with store_faults("noting a miss of the cache"):
            await self._redis.set(_missed_key(asker), b"", ex=_MISS_TTL_S)

    async def keep_vectors(self, scope: str, vectors: Mapping[str, bytes]) -> None:
        """Keep the embeddings of entries, by the entries' names, where these are still there."""
        if not vectors or not self._has_room():
            return
        with store_faults("keeping embeddings in the cache"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, vector in vectors.items():
                    pipe.execute_command("VSETATTR", vectors_key(scope), name, _attribute(vector))
                await pipe.execute()

    async def put(self, slot: CacheSlot, answer: CachedAnswer, *, tenant: str) -> None:
        """Keep an answer, unless it is too long or memory is low. One to the same query is replaced."""
        data = msgspec.json.encode(answer)
        if len(data) > _MAX_ANSWER_BYTES or not self._has_room():
            return
        now, name = self._clock(), slot.exact_key
        keys = [
            answer_key(slot.scope, name),
            index_key(tenant),
            vectors_key(slot.scope),
            CACHE_TENANTS.prefix,
        ]
        embedding = _attribute(slot.vector) if slot.vector else b""
        entry = [data, f"{slot.scope} {name}", name, slot.static_vector or b"", embedding]
        bounds = [now, now + self._ttl_s, self._ttl_s, self._max_entries, _EVICT_AT_ONCE]
        with store_faults("writing the cache"):
            leaving = await self._put(keys=keys, args=[*entry, *bounds])
            if leaving:
                await self._remove(leaving)

    async def shrink(self, most: int = _SHRINK_BY) -> int:
        """Remove answers to make room, of the tenants that have most. Return how many entries left."""
        gone = 0
        with store_faults("shrinking the cache"):
            while gone < most and (
                leaving := await self._shrink(keys=[CACHE_TENANTS.prefix], args=[_EVICT_AT_ONCE])
            ):
                await self._remove(leaving)
                gone += len(leaving)
        return gone

    async def _remove(self, entries: list[bytes]) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            for entry in entries:
                scope, _, name = entry.decode().partition(" ")
                pipe.execute_command("VREM", vectors_key(scope), name)
                pipe.delete(answer_key(scope, name))
            await pipe.execute()


def _decode(data: bytes | str | None) -> CachedAnswer | None:
    try:
        return msgspec.json.decode(data, type=CachedAnswer) if data is not None else None
    except msgspec.DecodeError:
        return None  # another version of Headrace wrote it


def _attribute(vector: bytes) -> bytes:
    """Return an embedding as an attribute of a vector set, which is JSON: a string of base64."""
    return b'"%b"' % b64encode(vector)


def answer_key(scope: str, name: str) -> str:
    """Return the key of an answer; `scope` and `name` as its member of the index has them."""
    return CACHE_ANSWER.key(f"{scope}:{name}")


def _missed_key(asker: str) -> str:
    return CACHE_MISSED.key(digest(asker))


def vectors_key(scope: str) -> str:
    """Return the key of a scope's vectors, a vector set of the answers' names."""
    return CACHE_VECTORS.key(scope)


def index_key(tenant: str) -> str:
    """Return the key of a tenant's index: a sorted set of ``scope name``, by when each expires."""
    return CACHE_ENTRIES.key(digest(tenant))

"""Erases what Redis holds of a user's requests: stored replies, cached answers, webhooks that wait.

Nothing there is filed by user, and everything expires by itself, most of it within a day
(`HEADRACE_REGISTRY_TTL_S`). A finished request stays known, because repeats and redeliveries of it have to be
recognised; only its texts go. One that is under way is left alone until it has ended.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from agents.stores.answer_cache import CachedAnswer, answer_key, index_key, vectors_key
from agents.stores.journal import journal_key
from agents.webhooks import queue
from agents.webhooks.queue import Lane, end_arguments, entry_key
from headrace.ops.topic_reader import in_batches
from streams.codec import encode
from streams.events import ErrorInfo, Reply
from streams.redis.connection import store_faults
from streams.registry.entries import vectors_key as kept_vectors_key
from streams.registry.registry import request_key
from streams.webhooks.signing import webhook_id

_KEYS_A_PIPELINE = 500
_SETTLED = b"settled"

#: Only if it still says what was read: whatever has changed meanwhile is looked at again.
_EMPTY = """
local request, journal, vectors, seen, emptied = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local found = redis.call('HMGET', request, 'state', 'reply')
if found[1] ~= 'settled' or (found[2] or '') ~= seen then return 0 end
if emptied ~= '' then redis.call('HSET', request, 'reply', emptied) end
redis.call('HDEL', request, 'fingerprint')
redis.call('DEL', vectors)
if redis.call('HDEL', journal, 'result') == 1 then redis.call('HSET', journal, 'sent', 1) end
return 1
"""


class RedisFindings(msgspec.Struct, kw_only=True):
    """What Redis holds of a user's requests."""

    ended: list[tuple[str, bytes]] = []  # finished requests with texts in them, and their stored reply
    cached: list[tuple[bytes, bool]] = []  # cache members; whether the answer expired before its vector
    webhooks: list[tuple[str, Lane]] = []  # those that wait to be sent
    running: int = 0  # requests that are under way

    @property
    def counts(self) -> dict[str, int]:
        """How much there is to erase, by kind."""
        return {
            "stored replies": len(self.ended),
            "cached answers": sum(not expired for _, expired in self.cached),
            "waiting webhooks": len(self.webhooks),
        }


class RedisEraser:
    """Finds and erases them. Every method raises `StoreUnavailable` where Redis does not answer in time."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its stubs know neither vector sets nor bytes from strings
        self._empty = self._redis.register_script(_EMPTY)
        self._end_webhook = self._redis.register_script(queue.END)

    async def find(self, tenant: str, request_ids: Collection[str]) -> RedisFindings:
        """Return what Redis holds of these requests of a tenant."""
        found = RedisFindings()
        with store_faults("looking for a user's requests"):
            for ids in in_batches(sorted(request_ids), _KEYS_A_PIPELINE):
                runs: list[str] = []
                for request_id, fields, has_more in await self._states(ids):
                    owner, state, reply, fingerprint, replay = fields
                    if state is None or owner != tenant.encode():
                        continue
                    if state != _SETTLED:
                        found.running += 1
                    elif has_more or fingerprint or (reply and _emptied(reply) != reply):
                        found.ended.append((request_id, reply or b""))
                    runs += (webhook_id(request_id, number) for number in range(int(replay or 0) + 1))
                for some in in_batches(runs, _KEYS_A_PIPELINE):
                    found.webhooks += await self._webhooks(some)
            found.cached = await self._cached(tenant, frozenset(request_ids))
        return found

    async def erase(self, tenant: str, found: RedisFindings) -> None:
        """Erase what was found of a tenant's requests; what has changed since then stays."""
        with store_faults("erasing a user's requests"):
            for webhook, lane in found.webhooks:
                keys, args = end_arguments(webhook, lane)
                await self._end_webhook(keys=keys, args=args)
            for some in in_batches(found.cached, _KEYS_A_PIPELINE):
                await self._erase_answers(tenant, some)
            for request_id, reply in found.ended:
                await self._empty(
                    keys=[key(request_id) for key in (request_key, journal_key, kept_vectors_key)],
                    args=[reply, _emptied(reply)],
                )

    async def _states(self, ids: Sequence[str]) -> list[tuple[str, list[bytes | None], bool]]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for request_id in ids:
                pipe.hmget(request_key(request_id), ["tenant", "state", "reply", "fingerprint", "replay"])
                pipe.hexists(journal_key(request_id), "result")
                pipe.exists(kept_vectors_key(request_id))
            found = await pipe.execute()
        more = (result or vectors for result, vectors in zip(found[1::3], found[2::3], strict=True))
        return list(zip(ids, found[::3], more, strict=True))

    async def _webhooks(self, runs: Sequence[str]) -> list[tuple[str, Lane]]:
        """Return which of these webhooks wait; each run of a request has one at most."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for run in runs:
                pipe.hmget(entry_key(run), "tenant", "host")
            lanes: list[tuple[bytes | None, bytes | None]] = await pipe.execute()
        return [
            (run, Lane(tenant.decode(), host.decode()))
            for run, (tenant, host) in zip(runs, lanes, strict=True)
            if tenant is not None and host is not None
        ]

    async def _cached(self, tenant: str, request_ids: frozenset[str]) -> list[tuple[bytes, bool]]:
        """Return the cached answers of these requests, and expired ones: they no longer say whose."""
        found: list[tuple[bytes, bool]] = []
        for some in in_batches(await self._redis.zrange(index_key(tenant), 0, -1), _KEYS_A_PIPELINE):
            answers = await self._redis.mget([answer_key(*_split(member)) for member in some])
            for member, data in zip(some, answers, strict=True):
                if data is None or _request_of(data) in request_ids:
                    found.append((member, data is None))
        return found

    async def _erase_answers(self, tenant: str, members: Sequence[tuple[bytes, bool]]) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            for member, expired in members:
                scope, name = _split(member)
                pipe.execute_command("VREM", vectors_key(scope), name)
                if not expired:
                    pipe.delete(answer_key(scope, name))
                pipe.zrem(index_key(tenant), member)
            await pipe.execute()


def _split(member: bytes) -> tuple[str, str]:
    scope, _, name = member.decode().partition(" ")
    return scope, name


def _request_of(data: bytes) -> str | None:
    try:
        return msgspec.json.decode(data, type=CachedAnswer).request_id
    except msgspec.DecodeError:
        return None  # another version of Headrace wrote it; it expires


def _emptied(data: bytes) -> bytes:
    """Return a stored reply without its texts, with a note why they are missing; empty if there is none."""
    if not data:
        return b""
    reply = msgspec.json.decode(data, type=Reply)
    note = ErrorInfo(
        type=reply.error.type if reply.error else "erased",
        code=reply.error.code if reply.error else "erased",
        message="the texts of this request were erased, at its user's wish",
    )
    return encode(msgspec.structs.replace(reply, content="", tool_calls=(), pii_detected=(), error=note))

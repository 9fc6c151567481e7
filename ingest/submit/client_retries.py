"""Recognises the retries of the official SDKs, which repeat a lost call without an `Idempotency-Key`.

The SDKs of OpenAI and Anthropic (Python, Node and others from Stainless) send `x-stainless-retry-count`. They
retry with the same body and nothing that names the call. So each first attempt gets a key here, and is noted
as an open call of its tenant and body. A retry takes the key of one of these calls (`CallState` is the order
of choice), as if it had been sent with that `Idempotency-Key`: whichever it takes answers what the retry
asks, and is paid for once.
"""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum

import msgspec
import structlog
from redis.asyncio import Redis

from ingest.submit.detached_tasks import DetachedTasks
from streams.errors import HeadraceError, StoreUnavailable
from streams.redis.connection import store_faults
from streams.redis.keys import CLIENT_RETRIES, digest

#: SDKs wait 8 s at most before a retry, or as long as `Retry-After` says, up to a minute.
_RETRY_WITHIN_S = 120
#: How long an answer that was sent may still turn out to be lost on its way.
_LOST_WITHIN_S = 30
_MAX_OPEN = 256

log = structlog.get_logger(__name__)

# Values are `<rank>:<since, Unix ms>:<until, Unix ms>`.
_PURGED = """
local slot, now = KEYS[1], tonumber(ARGV[1])
local all, open = redis.call('HGETALL', slot), {}
for i = 1, #all, 2 do
  local rank, since, till = string.match(all[i + 1], '^(%d):(%d+):(%d+)$')
  if tonumber(till) < now then redis.call('HDEL', slot, all[i])
  else table.insert(open, {all[i], tonumber(rank), tonumber(since)}) end
end
local function put(field, rank, till)
  redis.call('HSET', slot, field, rank .. ':' .. ARGV[1] .. ':' .. till)
  if redis.call('PTTL', slot) < tonumber(till) - now then redis.call('PEXPIREAT', slot, till) end
end
"""
_OPEN = f"{_PURGED} if #open < tonumber(ARGV[5]) then put(ARGV[3], ARGV[4], ARGV[2]) end"
_CLAIM = f"""{_PURGED}
table.sort(open, function(a, b) if a[2] ~= b[2] then return a[2] < b[2] end return a[3] < b[3] end)
if not open[1] then return false end
put(open[1][1], ARGV[3], ARGV[2])
return open[1][1]
"""
_NOTE = f"{_PURGED} if redis.call('HEXISTS', slot, ARGV[3]) == 1 then put(ARGV[3], ARGV[4], ARGV[2]) end"


class CallState(IntEnum):
    """How an SDK's attempt ended; a retry takes the call with the lowest state."""

    LEFT = 0
    REFUSED = 1
    OPEN = 2
    ANSWERED = 3


class SdkCall(msgspec.Struct, kw_only=True):
    """One attempt of an SDK's call: `key` stands for its `Idempotency-Key`."""

    slot: str
    key: str
    deadline_ms: int
    is_retry: bool = False
    state: CallState = CallState.OPEN


class ClientRetries:
    """The open calls of SDKs, in Redis. Noting the end of an attempt takes at most `timeout_s`."""

    def __init__(self, redis: Redis, *, timeout_s: float) -> None:
        self._tasks = DetachedTasks(timeout_s=timeout_s)
        self._open = redis.register_script(_OPEN)
        self._claim = redis.register_script(_CLAIM)
        self._note = redis.register_script(_NOTE)

    async def call_of(self, *, tenant: str, body: str, retries: int, deadline_ms: int) -> SdkCall:
        """Return the call that an attempt belongs to. `retries` counts the SDK's attempts before this one."""
        slot = CLIENT_RETRIES.key(digest(f"{len(tenant)}:{tenant}:{body}"))
        until = _now_ms() + deadline_ms + _RETRY_WITHIN_S * 1000
        with store_faults("looking for the call of a retry"):
            if retries:
                found = await self._claim(keys=[slot], args=[_now_ms(), until, CallState.OPEN.value])
                if found:
                    return SdkCall(slot=slot, key=found.decode(), deadline_ms=deadline_ms, is_retry=True)
            key = uuid.uuid4().hex
            await self._open(keys=[slot], args=[_now_ms(), until, key, CallState.OPEN.value, _MAX_OPEN])
        return SdkCall(slot=slot, key=key, deadline_ms=deadline_ms)

    @contextmanager
    def attending(self, call: SdkCall | None) -> Iterator[None]:
        """Surround the work on an attempt, and note its end, unless `call.state` says it already."""
        try:
            yield
        except HeadraceError:
            self._note_end(call, CallState.REFUSED)
            raise
        self._note_end(call, CallState.ANSWERED)

    async def close(self) -> None:
        """Wait for the notes under way."""
        await self._tasks.close()

    def _note_end(self, call: SdkCall | None, state: CallState) -> None:
        if call is None:
            return
        if call.state is CallState.OPEN:
            call.state = state
        self._tasks.start(self._write_end(call))

    async def _write_end(self, call: SdkCall) -> None:
        wait_ms = {
            CallState.LEFT: call.deadline_ms + _RETRY_WITHIN_S * 1000,
            CallState.REFUSED: _RETRY_WITHIN_S * 1000,
        }.get(call.state, _LOST_WITHIN_S * 1000)
        try:
            with store_faults("noting the end of an attempt"):
                async with asyncio.timeout(self._tasks.timeout_s):
                    now = _now_ms()
                    await self._note(keys=[call.slot], args=[now, now + wait_ms, call.key, call.state.value])
        except StoreUnavailable as fault:  # the call counts as open until its deadline
            log.warning("client_retries.not_noted", error=str(fault))


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)

"""Which request a submission is: its id, from an `Idempotency-Key` or from an SDK's count of its retries.

The SDKs of OpenAI and Anthropic (Python, Node and others from Stainless) repeat a lost call without a key:
with `x-stainless-retry-count`, the same body, and nothing that names the call. So each first attempt gets a
key here, and is noted as an open call of its tenant and body. A retry takes the key of one of these calls
(`CallState` is the order of choice), as if it had been sent with that `Idempotency-Key`: whichever it takes
answers what the retry asks, and is paid for once.
"""

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum

import msgspec
import structlog
from redis.asyncio import Redis

from ingest.errors import conflict
from ingest.submit.http_message import idempotency_key, sdk_retry_count
from streams.errors import HeadraceError, StoreUnavailable
from streams.events import Requested
from streams.redis.connection import store_faults
from streams.redis.keys import CLIENT_RETRIES, digest
from streams.registry.registry import fingerprint
from streams.registry.runs import RequestRuns
from streams.serving.responses import ApiError
from streams.tasks import DetachedTasks

#: Namespaces of the request ids that come from keys (RFC 9562, version 5), for first and for later runs.
#: Never change them: the same key must give the same id after every upgrade.
_FIRST_RUNS = uuid.UUID("6f9f1c0e-6c3b-5d1e-9d1a-4a1d2f0c7b55")
_LATER_RUNS = uuid.UUID("d7a0a4d2-52c1-5b0a-9a51-6b8f3e0c4f17")
#: Begins the keys that are made for SDK calls. No `Idempotency-Key` can: a header has no line end.
_SDK_KEY = "sdk\n"
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


async def identify(
    headers: Mapping[str, str],
    request: Requested,
    *,
    tenant: str,
    deadline_ms: int,
    runs: RequestRuns,
    calls: ClientRetries,
) -> tuple[str, str, SdkCall | None]:
    """Return which request a submission is, new or sent before; 409 for a key of another body.

    That is its id, the `fingerprint` of what it asks, and the SDK's call that it belongs to, if any.
    """
    key, call, body = idempotency_key(headers), None, fingerprint(request, tenant)
    if key is None:
        retries = sdk_retry_count(headers)
        if retries is None:
            return request_id_for(tenant, None), body, None
        call = await calls.call_of(tenant=tenant, body=body, retries=retries, deadline_ms=deadline_ms)
        key = _SDK_KEY + call.key
        if not call.is_retry:
            return request_id_for(tenant, key), body, call
    found = await runs.newest(lambda run: request_id_for(tenant, key, run=run), body=body)
    if found is None:
        raise key_of_another_body()
    return found, body, call


def key_of_another_body() -> ApiError:
    """Return the 409 for a key that was used before, for another body."""
    return conflict(
        "this Idempotency-Key was used for another body: use a new key for a new request",
        param="Idempotency-Key",
    )


def request_id_for(tenant: str, idempotency_key: str | None, *, run: int = 1) -> str:
    """Return the id of a request: the same for the same run of a tenant's key; without a key a new one."""
    if idempotency_key is None:
        return str(uuid.uuid4())
    name = f"{len(tenant)}:{tenant}:{idempotency_key}"
    return str(uuid.uuid5(_FIRST_RUNS, name) if run == 1 else uuid.uuid5(_LATER_RUNS, f"{run}:{name}"))

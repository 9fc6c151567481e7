"""The request registry: where each accepted request stands.

Ingest and the guardrail register a request here before anything is done for it, so that the same id
sent twice does the work once: a repeat gets the stored reply, joins the one that runs, or is refused
because its body differs. The cost stage settles the request with its reply. The registry lives in
Redis; its entries expire `ttl_s` after they were last written.

A request is *pending* from ingest's registration until the guardrail reads its record, then *running*,
then *settling* while its replies are being sent, then *settled*. Until it is settling it can be
*cancelled*: the stages then end it as soon as they see that. When an operator replays a dead letter of a
settled request, the first stage that registers or settles it under the new number opens it again.
"""

import hashlib
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from streams.codec import encode
from streams.events import ChatRequested, Reply, ReplyAddress
from streams.store import store_faults

_KEY = "headrace:request:"


class Standing(StrEnum):
    """What registering a request found."""

    NEW = "new"  # nobody has it: do the work
    SAME = "same"  # this very submission, delivered again: go on with it
    DONE = "done"  # this very submission, and its replies are out: nothing left to do
    PENDING = "pending"  # accepted before, but its record was not read yet: publish it (again)
    JOINED = "joined"  # it runs: its reply will also be sent to this sender
    SETTLED = "settled"  # it is finished: here is the reply
    CONFLICT = "conflict"  # another body under the same id: refuse


class Registration(msgspec.Struct, frozen=True):
    """The answer to `RequestRegistry.register`.

    `reply` is there where the request is settled, `cancelled` where it is to be cancelled: by what.
    """

    standing: Standing
    reply: Reply | None = None
    cancelled: str | None = None


class CancelAnswer(StrEnum):
    """What came of an attempt to cancel a request."""

    CANCELLING = "cancelling"  # the stages will end it as soon as they see it
    SETTLED = "settled"  # too late: it has its reply
    SHARED = "shared"  # others have sent the same request and wait for it: it goes on
    UNKNOWN = "unknown"  # there is no such request, or it is another tenant's


class RequestState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request stands, and whose it is."""

    tenant: str
    state: str
    registered_at: datetime
    reply: Reply | None = None


class Settlement(msgspec.Struct, frozen=True):
    """Everyone who waits for a reply, and the reply that was stored first."""

    done: bool
    reply: Reply
    waiters: tuple[ReplyAddress, ...]


_REGISTER = """
local key, waiters = KEYS[1], KEYS[2]
local tenant, print, origin, state, waiter, at, ttl, replay =
    ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local found = redis.call('HMGET', key, 'fingerprint', 'origin', 'state', 'reply', 'tenant', 'replay',
                         'cancelled')
if found[3] and found[5] == tenant and replay > tonumber(found[6] or 0) then
  redis.call('DEL', key, waiters)
  found = {}
end
if not found[3] then
  redis.call('HSET', key, 'tenant', tenant, 'fingerprint', print, 'origin', origin, 'state', state,
             'registered_at', at, 'replay', replay)
  redis.call('EXPIRE', key, ttl)
  return {'new', false, false}
end
if found[5] ~= tenant or (found[1] and found[1] ~= print) then return {'conflict', false, false} end
redis.call('EXPIRE', key, ttl)
if found[3] == 'settled' and found[2] == origin then return {'done', found[4], false} end
if found[2] == origin then
  if found[3] == 'pending' then redis.call('HSET', key, 'state', state) end
  return {'same', false, found[7]}
end
redis.call('HINCRBY', key, 'others', 1)
if found[3] == 'settling' or found[3] == 'settled' then return {'settled', found[4], false} end
if found[3] == 'pending' then
  if state == 'running' then
    redis.call('HSET', key, 'origin', origin, 'state', state)
    return {'new', false, found[7]}
  end
  return {'pending', false, false}
end
redis.call('SADD', waiters, waiter)
redis.call('EXPIRE', waiters, ttl)
return {'joined', false, false}
"""

_BEGIN_SETTLE = """
local key, waiters = KEYS[1], KEYS[2]
local reply, tenant, at, ttl, replay = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local found = redis.call('HMGET', key, 'state', 'reply', 'replay')
if found[1] and replay > tonumber(found[3] or 0) then
  redis.call('DEL', waiters)
  redis.call('HSET', key, 'state', 'running', 'replay', replay)
  found = {'running'}
end
if found[1] ~= 'settling' and found[1] ~= 'settled' then
  redis.call('HSET', key, 'state', 'settling', 'reply', reply)
  redis.call('HSETNX', key, 'tenant', tenant)
  redis.call('HSETNX', key, 'registered_at', at)
  found = {'settling', reply}
end
redis.call('EXPIRE', key, ttl)
return {found[1], found[2], redis.call('SMEMBERS', waiters)}
"""

_FINISH_SETTLE = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'settling' and state ~= 'settled' then return 0 end
redis.call('HSET', KEYS[1], 'state', 'settled')
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""

_ABANDON = """
if redis.call('HGET', KEYS[1], 'origin') == ARGV[1] and redis.call('HGET', KEYS[1], 'state') == 'pending' then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


_CANCEL = """
local key, tenant, reason, only_alone = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('HMGET', key, 'state', 'tenant', 'others')
if not found[1] or found[2] ~= tenant then return 'unknown' end
if found[1] == 'settling' or found[1] == 'settled' then return 'settled' end
if only_alone == '1' and tonumber(found[3] or 0) > 0 then return 'shared' end
redis.call('HSETNX', key, 'cancelled', reason)
return 'cancelling'
"""


def correlation_origin(correlation_id: bytes) -> str:
    """Name a submission by its correlation id: ingest and the guardrail must name it in the same words."""
    return "correlation:" + correlation_id.hex()


def fingerprint(request: ChatRequested, tenant: str) -> str:
    """Return a hash of what is asked: two requests with the same id must agree in it."""
    asked = msgspec.structs.replace(
        request,
        request_id=None,
        tenant=tenant,
        tier=None,
        accepted_at=None,
        deadline_ms=None,
        stream=False,
        on_disconnect=None,
    )
    return hashlib.sha256(encode(asked)).hexdigest()


class RequestRegistry:
    """Where each request stands, in Redis.

    Every method raises `StoreUnavailable` where Redis does not answer in time.

    Args:
        redis: the client; its timeouts bound every call.
        ttl_s: how long an entry is kept, in seconds.
    """

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s
        self._register = redis.register_script(_REGISTER)
        self._begin_settle = redis.register_script(_BEGIN_SETTLE)
        self._finish_settle = redis.register_script(_FINISH_SETTLE)
        self._cancel = redis.register_script(_CANCEL)
        self._abandon = redis.register_script(_ABANDON)

    async def register(
        self,
        request_id: str,
        *,
        tenant: str,
        body: str,
        origin: str,
        running: bool,
        reply_to: ReplyAddress,
        replay: int = 0,
    ) -> Registration:
        """Register a submission, and say what it is to those before it.

        Args:
            request_id: the id the sender chose, or was given.
            tenant: whose request it is.
            body: the request's `fingerprint`.
            origin: names this submission. Delivered again it has the same origin; the same
                request sent again by its sender has another.
            running: the caller starts the work now (the guardrail), rather than queueing it (ingest).
            reply_to: where the reply goes if the request turns out to run already.
            replay: how often a dead letter of the request was replayed.
        """
        with store_faults("registering a request"):
            standing, reply, cancelled = await self._register(
                keys=self._keys(request_id),
                args=[
                    tenant,
                    body,
                    origin,
                    "running" if running else "pending",
                    encode(reply_to),
                    datetime.now(UTC).isoformat(),
                    self._ttl_s,
                    replay,
                ],
            )
        return Registration(
            Standing(standing.decode()), _reply(reply), cancelled.decode() if cancelled else None
        )

    async def cancel(
        self, request_id: str, *, tenant: str, reason: str, only_alone: bool = False
    ) -> CancelAnswer:
        """Ask that a request be ended.

        Args:
            request_id: the request.
            tenant: whose it must be.
            reason: what asks, as operators will read it, e.g. ``client_disconnected``.
            only_alone: leave it alone where the same request was sent more than once.
        """
        with store_faults("cancelling a request"):
            answer = await self._cancel(
                keys=self._keys(request_id)[:1], args=[tenant, reason, int(only_alone)]
            )
        return CancelAnswer(answer.decode())

    async def abandon(self, request_id: str, *, origin: str) -> None:
        """Forget a registration whose record could not be published."""
        with store_faults("forgetting a request"):
            await self._abandon(keys=self._keys(request_id), args=[origin])

    async def find(self, request_id: str) -> RequestState | None:
        """Return where the request stands, or None if it is unknown (or long ago)."""
        with store_faults("finding a request"):
            fields = await self._redis.hmget(_KEY + request_id, ["tenant", "state", "registered_at", "reply"])
        tenant, state, at, reply = (_bytes(field) for field in fields)
        if state is None:
            return None
        return RequestState(
            tenant=(tenant or b"").decode(),
            state=state.decode(),
            registered_at=datetime.fromisoformat(at.decode()) if at else datetime.now(UTC),
            reply=_reply(reply),
        )

    async def begin_settle(self, reply: Reply, *, tenant: str) -> Settlement:
        """Store the reply and close the list of waiters.

        Called again for the same request it returns the reply that was stored first, so that a
        reply sent twice is the same twice.
        """
        with store_faults("settling a request"):
            state, stored, waiters = await self._begin_settle(
                keys=self._keys(reply.request_id),
                args=[encode(reply), tenant, datetime.now(UTC).isoformat(), self._ttl_s, reply.replay],
            )
        return Settlement(
            state == b"settled",
            _reply(stored) or reply,
            tuple(msgspec.json.decode(waiter, type=ReplyAddress) for waiter in sorted(waiters)),
        )

    async def finish_settle(self, request_id: str) -> bool:
        """Note that every reply was acknowledged by the broker.

        Returns:
            Whether a reply is stored: False where `begin_settle` never reached Redis.
        """
        with store_faults("finishing a request"):
            return bool(await self._finish_settle(keys=self._keys(request_id), args=[self._ttl_s]))

    def _keys(self, request_id: str) -> list[str]:
        return [_KEY + request_id, f"{_KEY}{request_id}:waiters"]


def _reply(data: bytes | None) -> Reply | None:
    return msgspec.json.decode(data, type=Reply) if data else None


def _bytes(field: bytes | str | None) -> bytes | None:
    return field.encode() if isinstance(field, str) else field

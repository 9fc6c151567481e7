"""The queue of webhooks in Redis: by tenant, by host, and by when they are due.

A claim is a lease. Its holder ends the webhook, or says when it is due again. If the holder dies, the webhook
is due again when the lease is over, for any worker. ``due:TENANT:HOST`` is a sorted set of webhooks by when
they are due (Unix ms), ``hosts:TENANT`` one of hosts and ``tenants`` one of tenants, by the first of theirs.
``bytes`` is a hash: what waits, by share, and in all under the empty name.
"""

import time
from collections.abc import Callable, Collection
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from agents.stage import Record
from streams.errors import StoreFull
from streams.redis.connection import store_faults
from streams.redis.keys import (
    WEBHOOK,
    WEBHOOK_DONE,
    WEBHOOKS_BYTES,
    WEBHOOKS_DUE,
    WEBHOOKS_HOSTS,
    WEBHOOKS_TENANTS,
    digest,
)
from streams.redis.memory import HasRoom

#: A claim looks at so many tenants that are due; where none may be served, the next one looks further.
TENANTS_AT_ONCE = 50

#: Puts host and tenant where their first webhook belongs, or takes them out where none is left.
_PLACE = """
local function put(above, below, name)
  local first = redis.call('ZRANGE', below, 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', above, first[2], name) else redis.call('ZREM', above, name) end
end
local function place(tenants, hosts, due, tenant, host)
  put(hosts, due, host)
  put(tenants, hosts, tenant)
end
"""

ADD = (
    _PLACE
    + """
local entry, done, tenants, hosts, due, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, tenant, host, record, size, now, replay, most =
    ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local ended = redis.call('GET', done)
if ended and replay <= tonumber(ended) then return 'ended' end
if redis.call('EXISTS', entry) == 1 then return 'waiting' end
local shares = {'', tenant .. ':', host, tenant .. ':' .. host}
local waiting = {}
for i, share in ipairs(shares) do waiting[i] = tonumber(redis.call('HGET', bytes, share) or 0) + size end
local free = most - waiting[1] + size
if waiting[2] > free or waiting[3] > free or waiting[4] > most / 4 then return 'full' end
redis.call('HSET', entry, 'record', record, 'tenant', tenant, 'host', host, 'size', size, 'replay', replay,
    'attempt', 0)
for _, share in ipairs(shares) do redis.call('HINCRBY', bytes, share, size) end
redis.call('ZADD', due, now, id)
place(tenants, hosts, due, tenant, host)
return 'added'
"""
)

#: Takes the first webhook that is due and of no busy share, and lends it until its holder may be dead.
CLAIM = (
    _PLACE
    + f"""
local tenants, bytes, prefix_hosts, prefix_due, prefix_entry = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local now, lent_until, passed, busy, number = ARGV[4], ARGV[5], ARGV[6], {{}}, #ARGV - 6
for i = 7, #ARGV do busy[ARGV[i]] = true end
local due_tenants = redis.call('ZRANGE', tenants, '-inf', now, 'BYSCORE', 'LIMIT', passed, {TENANTS_AT_ONCE})
for _, tenant in ipairs(due_tenants) do
  local hosts = prefix_hosts .. tenant
  local due_hosts = busy[tenant .. ':'] and {{}}
      or redis.call('ZRANGE', hosts, '-inf', now, 'BYSCORE', 'LIMIT', 0, number + 1)
  for _, host in ipairs(due_hosts) do
    if not busy[host] and not busy[tenant .. ':' .. host] then
      local due = prefix_due .. tenant .. ':' .. host
      local id = redis.call('ZRANGE', due, 0, 0)[1]
      local record = redis.call('HGET', prefix_entry .. id, 'record')
      if not record then
        redis.call('ZREM', due, id)
        place(tenants, hosts, due, tenant, host)
        return {{'again'}}
      end
      redis.call('ZADD', due, lent_until, id)
      place(tenants, hosts, due, tenant, host)
      return {{'claimed', id, tenant, host, redis.call('HINCRBY', prefix_entry .. id, 'attempt', 1), record}}
    end
  end
end
if #due_tenants == {TENANTS_AT_ONCE} then return {{'further'}} end
return {{'none', redis.call('HGET', bytes, '') or 0}}
"""
)

#: Says when a webhook is due again; only for who holds it, for its holder may have been taken for dead.
POSTPONE = (
    _PLACE
    + """
local entry, tenants, hosts, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, tenant, host, attempt, at = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('HGET', entry, 'attempt') ~= attempt then return 0 end
redis.call('ZADD', due, at, id)
place(tenants, hosts, due, tenant, host)
return 1
"""
)

END = (
    _PLACE
    + """
local entry, done, tenants, hosts, due, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, tenant, host, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('HMGET', entry, 'size', 'replay')
if not found[1] then return 0 end
redis.call('DEL', entry)
redis.call('SET', done, found[2], 'EX', ttl)
redis.call('ZREM', due, id)
place(tenants, hosts, due, tenant, host)
for _, share in ipairs({'', tenant .. ':', host, tenant .. ':' .. host}) do
  if redis.call('HINCRBY', bytes, share, -found[1]) <= 0 then redis.call('HDEL', bytes, share) end
end
return 1
"""
)


_TENANTS = WEBHOOKS_TENANTS.prefix
_BYTES = WEBHOOKS_BYTES.prefix
#: How long an ended webhook is remembered: its record may be delivered again, mostly within seconds.
_DONE_TTL_S = 3600
#: Redis's memory for a webhook beside its record, and in how many places its host's name stands.
_OVERHEAD_BYTES, _HOST_PLACES = 1_280, 6


class Added(StrEnum):
    """What came of adding a webhook."""

    ADDED = "added"
    WAITING = "waiting"  # it is in the queue already: its record was delivered again
    ENDED = "ended"  # it has ended already
    FULL = "full"  # too many wait, in all or of one of its shares


class Lane(msgspec.Struct, frozen=True):
    """The webhooks of one tenant (a digest of its name) to one host."""

    tenant: str
    host: str

    @classmethod
    def of(cls, tenant: str, host: str) -> "Lane":
        """Return the lane of a tenant, by its name, and a host."""
        return cls(digest(tenant), host)

    @property
    def crowds(self) -> tuple[str, str]:
        """The larger shares that it belongs to: its tenant's to all hosts, its host's of all tenants."""
        return f"{self.tenant}:", self.host

    @property
    def name(self) -> str:
        """The name of the lane's own share."""
        return f"{self.tenant}:{self.host}"

    @property
    def keys(self) -> list[str]:
        """Its Redis keys: all tenants, the tenant's hosts, what is due."""
        return [_TENANTS, WEBHOOKS_HOSTS.key(self.tenant), WEBHOOKS_DUE.key(self.name)]


class ClaimedWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that is to be sent now: try number `attempt`, from 1. `record` asked for it."""

    webhook_id: str
    lane: Lane
    attempt: int
    record: Record


def entry_key(webhook_id: str) -> str:
    """Return the key of a webhook that waits, a hash; its `tenant` and `host` are those of its lane."""
    return WEBHOOK.key(webhook_id)


def end_arguments(webhook_id: str, lane: Lane) -> tuple[list[str], list[str | int]]:
    """Return the keys and the arguments of `END`, which forgets a webhook that waits."""
    keys = [entry_key(webhook_id), WEBHOOK_DONE.key(webhook_id), *lane.keys, _BYTES]
    return keys, [webhook_id, lane.tenant, lane.host, _DONE_TTL_S]


class WebhookQueue:
    """The queue. Every step is one atomic script, and raises `StoreUnavailable` where Redis does not answer.

    At most `max_bytes` may wait in all. The webhooks of one tenant to one host may take a quarter of it;
    those of one tenant, or to one host, as much as is still free. `waiting_bytes` is how much waited in all
    when the last claim found nothing. Workers' clocks must agree to within seconds.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        max_bytes: int,
        has_room: HasRoom = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.waiting_bytes = 0
        self._has_room = has_room
        self._max_bytes = max_bytes
        self._clock = clock
        self._add = redis.register_script(ADD)
        self._claim = redis.register_script(CLAIM)
        self._postpone = redis.register_script(POSTPONE)
        self._end = redis.register_script(END)

    async def add(self, webhook_id: str, *, lane: Lane, record: Record) -> Added:
        """Add a webhook that is due now. Adding it again changes nothing, unless an operator replays it.

        Raises `StoreFull` while Redis is nearly full: the webhook's record waits in Kafka.
        """
        if not self._has_room():
            raise StoreFull("Redis: adding a webhook failed: its memory is nearly full")
        kept = msgspec.msgpack.encode(record)
        with store_faults("adding a webhook"):
            answer = await self._add(
                keys=[entry_key(webhook_id), WEBHOOK_DONE.key(webhook_id), *lane.keys, _BYTES],
                args=[
                    webhook_id,
                    lane.tenant,
                    lane.host,
                    kept,
                    len(kept) + _HOST_PLACES * len(lane.host) + _OVERHEAD_BYTES,
                    self._now_ms(),
                    record.again.replay,
                    self._max_bytes,
                ],
            )
        return Added(answer.decode())

    async def claim(self, *, lend_s: float, busy: Collection[str] = ()) -> ClaimedWebhook | None:
        """Take a webhook that is due, if there is one, for `lend_s` seconds: then it may be claimed again.

        `busy` has the names of lanes and `Lane.crowds` that may not have more in flight now.
        """
        now_ms, passed = self._now_ms(), 0
        while True:
            with store_faults("claiming a webhook"):
                prefixes = [WEBHOOKS_HOSTS.prefix, WEBHOOKS_DUE.prefix, WEBHOOK.prefix]
                lent_until_ms = now_ms + int(lend_s * 1000)
                answer = await self._claim(
                    keys=[_TENANTS, _BYTES], args=[*prefixes, now_ms, lent_until_ms, passed, *busy]
                )
            if answer[0] == b"claimed":
                return _claimed(*answer[1:])
            if answer[0] == b"none":
                self.waiting_bytes = int(answer[1])
                return None
            if answer[0] == b"further":
                passed += TENANTS_AT_ONCE

    async def postpone(self, claimed: ClaimedWebhook, delay_s: float) -> None:
        """Say that a webhook is due again after so many seconds."""
        with store_faults("postponing a webhook"):
            await self._postpone(
                keys=[entry_key(claimed.webhook_id), *claimed.lane.keys],
                args=[
                    claimed.webhook_id,
                    claimed.lane.tenant,
                    claimed.lane.host,
                    claimed.attempt,
                    self._now_ms() + int(delay_s * 1000),
                ],
            )

    async def end(self, claimed: ClaimedWebhook) -> None:
        """Forget a webhook: it has arrived, or is a dead letter."""
        keys, args = end_arguments(claimed.webhook_id, claimed.lane)
        with store_faults("ending a webhook"):
            await self._end(keys=keys, args=args)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _claimed(webhook_id: bytes, tenant: bytes, host: bytes, attempt: int, kept: bytes) -> ClaimedWebhook:
    record = msgspec.msgpack.decode(kept, type=Record)
    lane = Lane(tenant.decode(), host.decode())
    return ClaimedWebhook(webhook_id=webhook_id.decode(), lane=lane, attempt=attempt, record=record)

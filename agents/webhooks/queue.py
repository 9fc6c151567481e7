"""The queue of webhooks in Redis: by tenant, by host, and by when they are due.

A claim is a lease. Its holder ends the webhook, or says when it is due again. If the holder dies, the webhook
is due again when the lease is over, for any worker.
"""

import time
from collections.abc import Callable, Collection
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from agents.stage import Record
from agents.webhooks import queue_scripts as scripts
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
    """Return the keys and the arguments of `queue_scripts.END`, which forgets a webhook that waits."""
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
        self._add = redis.register_script(scripts.ADD)
        self._claim = redis.register_script(scripts.CLAIM)
        self._postpone = redis.register_script(scripts.POSTPONE)
        self._end = redis.register_script(scripts.END)

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
                passed += scripts.TENANTS_AT_ONCE

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

"""Watches the memory of Redis, once a second beside the work.

Redis holds the journal and does not evict: at its limit it refuses writes, and no request can be settled. So
from `LOW_SHARE` on nothing more is cached, vectors are not kept and the cache shrinks; from `FULL_SHARE` on
no new request is accepted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Self

import msgspec
import structlog
from redis.asyncio import Redis

from streams.errors import ConfigurationError, StoreDenied, StoreUnavailable
from streams.redis.connection import store_faults
from streams.tasks import cancel_and_wait

log = structlog.get_logger(__name__)

LOW_SHARE = 0.80
FULL_SHARE = 0.90

#: Whether there is room for something new. It is called for every request, and does no I/O.
HasRoom = Callable[[], bool]


class MemoryState(StrEnum):
    """What the free memory suffices for."""

    OK = "ok"
    LOW = "low"  # for everything but the cache and the vectors
    FULL = "full"  # for the requests under way
    UNLIMITED = "unlimited"  # unknown: Redis has no limit of its own


class StoreMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Redis's memory, as `/health` shows it.

    `limit_bytes` is Redis's `maxmemory`, 0 for none. `note` says what the operator should change.
    """

    used_bytes: int
    limit_bytes: int
    state: MemoryState
    note: str | None = None


class MemoryWatch:
    """Asks Redis for its memory every `every_s` seconds. During an outage the `latest` answer counts.

    `make_room` is called after each answer that says that memory is low.
    """

    def __init__(self, redis: Redis, *, every_s: float = 1.0) -> None:
        self._redis = redis
        self._every_s = every_s
        self.make_room: Callable[[], Awaitable[object]] | None = None
        self._looking: asyncio.Task[None] | None = None
        self.latest: StoreMemory | None = None

    async def __aenter__(self) -> Self:
        """Ask for the first time. A Redis that is away does not fail the start, one that refuses us does."""
        try:
            await self.look()
        except StoreDenied as fault:
            raise ConfigurationError(f"HEADRACE_REDIS_URL: {fault}") from fault
        except StoreUnavailable as fault:
            log.warning("store.unavailable", error=str(fault))
        self._looking = asyncio.create_task(self._look_on())
        return self

    async def __aexit__(self, *fault: object) -> None:
        """Stop asking."""
        await cancel_and_wait(self._looking)

    def has_room(self) -> bool:
        """Whether a new request may be accepted."""
        return self.latest is None or self.latest.state is not MemoryState.FULL

    def has_room_to_spare(self) -> bool:
        """Whether there is room for cached answers and vectors of replies."""
        return self.latest is None or self.latest.state in (MemoryState.OK, MemoryState.UNLIMITED)

    async def look(self) -> StoreMemory:
        """Return how full Redis is now. Raises `StoreUnavailable` where it accepts no commands."""
        with store_faults("looking at its memory"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.ping()  # while it loads its data it answers INFO, but no PING
                pipe.info("memory", "replication")
                _, info = await pipe.execute()
        if info.get("role") == "slave" and info.get("slave_read_only"):
            raise StoreUnavailable(
                "Redis: it is a read-only replica; HEADRACE_REDIS_URL must name its primary"
            )
        before, self.latest = self.latest, memory_of(info)
        if before is None or before.state is not self.latest.state:
            worrying = self.latest.state in (MemoryState.LOW, MemoryState.FULL) or self.latest.note
            write = log.warning if worrying else log.info
            write("store.memory", **msgspec.structs.asdict(self.latest) | {"state": self.latest.state.value})
        return self.latest

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.look()
                if self.make_room is not None and not self.has_room_to_spare():
                    await self.make_room()
            except StoreUnavailable as fault:
                log.debug("store.unavailable", error=str(fault))


def memory_of(info: dict[str, Any]) -> StoreMemory:
    """Return what Redis's `INFO memory` says."""
    used, limit = int(info["used_memory"]), int(info["maxmemory"])
    used -= int(info.get("mem_not_counted_for_evict", 0))  # the buffers of replicas and the append-only file
    return StoreMemory(used_bytes=used, limit_bytes=limit, state=_state(used, limit), note=_note(limit, info))


def _state(used: int, limit: int) -> MemoryState:
    if not limit:
        return MemoryState.UNLIMITED
    share = used / limit
    if share >= FULL_SHARE:
        return MemoryState.FULL
    return MemoryState.LOW if share >= LOW_SHARE else MemoryState.OK


def _note(limit: int, info: dict[str, Any]) -> str | None:
    policy = info.get("maxmemory_policy", "noeviction")
    if not limit:
        return "Redis has no memory limit, so that nobody is warned before it is full: set its maxmemory"
    if policy != "noeviction":
        return f"Redis evicts ({policy}), and the journal with it: set its maxmemory-policy to noeviction"
    return None

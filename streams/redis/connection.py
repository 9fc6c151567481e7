"""Connects to Redis, and turns its faults into ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.maint_notifications import MaintNotificationsConfig

from streams.errors import StoreDenied, StoreFull, StoreUnavailable, closed_under_write
from streams.redis.pipelining import PipeliningRedis

_MAX_CONNECTIONS = 4096

#: What an error of Redis means, and what to do. Any other error keeps Redis's own words.
_MEANINGS: tuple[tuple[type[RedisError], type[StoreUnavailable], str], ...] = (
    (OutOfMemoryError, StoreFull, "its memory is full: raise its maxmemory, or wait until keys expire"),
    (AuthenticationError, StoreDenied, "it wants another user or password: correct HEADRACE_REDIS_URL"),
    (NoPermissionError, StoreDenied, "its user needs INFO, and all commands on headrace:*"),
    (ReadOnlyError, StoreUnavailable, "it is a read-only replica: HEADRACE_REDIS_URL must name its primary"),
    (BusyLoadingError, StoreUnavailable, "it still loads its data"),
    (NoScriptError, StoreUnavailable, "its scripts were flushed while one was called: the next try loads it"),
)
#: An error that redis-py has no class for.
_DISK_FAULT = "MISCONF"


def connect(url: str, *, timeout_s: float = 2.0) -> PipeliningRedis:
    """Return a client for the Redis at `url`; it connects at its first command.

    Every command ends within about `timeout_s` seconds. The client does not retry: its caller knows the
    request's deadline. Single commands share one connection; each pipeline of a caller's has its own. Callers
    bound their number, and the pool's own limit is the last resort.
    """
    pool: ConnectionPool = ConnectionPool.from_url(
        url,
        max_connections=_MAX_CONNECTIONS,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=15,
        # With them, redis-py 8.1.0 hands out connections that the server has closed (its issue 4252): after
        # an outage the first command on each pooled connection would fail.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    client: PipeliningRedis = PipeliningRedis.from_pool(pool)  # type: ignore[assignment]  # it says `Redis`
    return client


@contextmanager
def store_faults(what: str) -> Iterator[None]:
    """Turn Redis's exceptions inside the block into `StoreFull`, `StoreDenied` or `StoreUnavailable`."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as fault:
        raise _named(fault, what) from fault
    except RuntimeError as fault:
        if not closed_under_write(fault):
            raise
        raise StoreUnavailable(f"Redis: {what} failed: {fault!r}") from fault


def _named(fault: Exception, what: str) -> StoreUnavailable:
    for theirs, ours, meaning in _MEANINGS:
        if isinstance(fault, theirs):
            return ours(f"Redis: {what} failed: {meaning} ({fault})")
    if _DISK_FAULT in str(fault):
        return StoreUnavailable(f"Redis: {what} failed: it cannot write to its disk, see its log ({fault})")
    return StoreUnavailable(f"Redis: {what} failed: {type(fault).__name__} {fault}")

"""The background job of the analytics process that keeps the rollups fresh."""

import asyncio
import time
from collections.abc import Callable

import structlog

from analytics.rollups.refresh import RollupRefresher
from analytics.sink.status import OUTAGE_BACKOFF, SinkStatus
from streams.errors import ClickHouseUnavailable
from streams.tasks import unless_stopped

log = structlog.get_logger(__name__)

#: A pause is at least so many times as long as the work before it: a fifth of the time goes into it at most.
_PAUSE_FACTOR = 4.0

#: While days are left that could be computed (a new rollup, a catch-up) it works half of the time.
_BACKLOG_PAUSE_FACTOR = 1.0


def pause_s(*, interval_s: float, took_s: float, due: int) -> float:
    """Return how long to wait after a run, in seconds."""
    if due:
        return took_s * _BACKLOG_PAUSE_FACTOR
    return max(interval_s, took_s * _PAUSE_FACTOR)


async def keep_rollups_fresh(
    refresher: RollupRefresher,
    status: SinkStatus,
    stop: asyncio.Event,
    *,
    interval_s: float,
    pause: Callable[..., float] = pause_s,
) -> None:
    """Refresh again and again, once the schema is there, until `stop` is set.

    Stopping interrupts a run; the next process does again what was half done.
    """
    await unless_stopped(stop, _refresh_forever(refresher, status, interval_s, pause))


async def _refresh_forever(
    refresher: RollupRefresher, status: SinkStatus, interval_s: float, pause: Callable[..., float]
) -> None:
    await status.schema_applied()
    failures = 0
    while True:
        began = time.monotonic()
        try:
            progress = await refresher.refresh()
        except ClickHouseUnavailable as fault:
            if not failures:
                log.warning("rollups.outage", error=str(fault))
            status.rollups.failed(str(fault))
            # The days that could be computed were. A fault that stays is retried less and less often.
            failures += 1
            await asyncio.sleep(max(OUTAGE_BACKOFF.wait_s(failures), interval_s * min(failures - 1, 4)))
        else:
            took_s = time.monotonic() - began
            failures = 0
            status.rollups.ran(
                refreshed=len(progress.refreshed), dirty_days=progress.dirty_days, seconds=took_s
            )
            await asyncio.sleep(pause(interval_s=interval_s, took_s=took_s, due=progress.due))

"""Runs several consumers side by side in one process, from their start to their end in bounded time."""

import asyncio
import signal
from collections.abc import Callable, Sequence

import structlog

from agents.runner.stage_app import StageApp
from agents.runner.watchdog import ProcessGuard, Watchdog

#: Time limit for leaving the groups after the drain.
_LEAVE_TIMEOUT_S = 10.0
#: Time limit for closing connections after that; then the process is ended.
_CLOSE_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


async def run_apps(
    apps: Sequence[StageApp],
    *,
    watchdog: Watchdog,
    stall_timeout_s: float,
    drain_timeout_s: float,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run apps side by side until SIGTERM or SIGINT, or until one of them crashes or is stuck.

    The process ends when its event loop is blocked for `stall_timeout_s`. A stop waits `drain_timeout_s` for
    records in flight, unless an app is stuck. `on_ready` is called once every app has its partitions.

    Raises:
        BaseException: what crashed an app, or `WorkerStalled`. The process should end and be restarted.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for app in apps:
        watchdog.watch(app.name, app.view)
    guard = ProcessGuard(lambda: watchdog.beats, limit_s=stall_timeout_s)
    guard.start()
    faults = [asyncio.ensure_future(each) for each in (watchdog.run(), *(app.wait_crashed() for app in apps))]
    stopped = asyncio.ensure_future(stop.wait())
    starting = asyncio.ensure_future(_start_all(apps, on_ready))
    try:
        await asyncio.wait([stopped, *faults], return_when=asyncio.FIRST_COMPLETED)
        for fault in faults:
            if fault.done():
                raise fault.result()
    finally:
        for task in (starting, stopped, *faults):
            task.cancel()
        await _stop_all(apps, guard, drain_s=drain_timeout_s if watchdog.stalled is None else 0.0)


async def _start_all(apps: Sequence[StageApp], on_ready: Callable[[], None]) -> None:
    await asyncio.gather(*(app.start() for app in apps))
    log.info("worker.ready", stages=[app.name for app in apps])
    on_ready()


async def _stop_all(apps: Sequence[StageApp], guard: ProcessGuard, *, drain_s: float) -> None:
    """Stop every app, within the time of a drain; without a drain where one is stuck.

    If an app has not ended by then, the guard ends the process.
    """
    timeout_s = _LEAVE_TIMEOUT_S + drain_s
    guard.end_within(timeout_s + _CLOSE_TIMEOUT_S)
    stopping = [asyncio.ensure_future(app.stop()) for app in apps]
    _, late = await asyncio.wait(stopping, timeout=timeout_s)
    if late:
        log.warning("worker.stop_timed_out", stages=[app.name for app in apps])

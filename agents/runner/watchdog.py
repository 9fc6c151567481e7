"""The watchdog of a worker: ends the process when its consumers make no progress, so that it is restarted.

Ending is safe at any moment: records in flight are not committed, and are delivered again.
"""

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog
from aiokafka import TopicPartition

from agents.runner.stage_app import ConsumerView
from agents.runner.stall_rules import NEEDS_RECORDS, StageWatch, Stall
from streams.errors import HeadraceError, KafkaUnavailable
from streams.kafka.inspector import KafkaInspector

log = structlog.get_logger(__name__)

#: How often the watchdog looks, and the most that one look advances its clock by two such steps.
_STEP_S = 1.0
#: The broker is asked after half of the stall time-out, and again after each eighth.
_UNEASY = 0.5
_ASK_AGAIN = 0.125
#: EX_SOFTWARE of sysexits.h. Supervisors tell it from a crash of Python and from a signal.
EXIT_STUCK = 70
#: Asks the broker for the end of each partition; None where it does not answer.
AskEnds = Callable[[Sequence[tuple[str, int]]], Awaitable[Mapping[tuple[str, int], int] | None]]


class BrokerEndOffsets:
    """Asks the broker for end offsets, on a connection of its own: the consumer's may be stuck."""

    def __init__(self, bootstrap: str, *, timeout_s: float) -> None:
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s

    async def __call__(self, places: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int] | None:
        """Return the end of each partition (topic, number), or None if no broker answered in time."""
        kafka = KafkaInspector(self._bootstrap, client_id="headrace.watchdog", timeout_s=self._timeout_s)
        try:
            ends = await kafka.end_offsets([TopicPartition(*place) for place in places])
        except KafkaUnavailable:
            return None
        finally:
            await kafka.close()
        return {(at.topic, at.partition): end for at, end in ends.items()}


class WorkerStalled(HeadraceError):
    """A consumer makes no progress though it could: the worker ends, to be started again."""


class WatchClock:
    """Counts the seconds that the process really ran, without those in which it was stopped (SIGSTOP)."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        """Return the seconds since the clock was made."""
        return self._seconds

    def advance(self, elapsed_s: float) -> None:
        """Add the time that has passed since the last call, at most two steps."""
        self._seconds += min(elapsed_s, 2 * _STEP_S)


class StageReport(msgspec.Struct, frozen=True, kw_only=True):
    """One stage, for probes and metrics. Ages are in seconds; None where there was nothing yet."""

    view: ConsumerView
    oldest_in_flight_s: float
    last_ack_age_s: float | None
    last_commit_age_s: float | None


class Watchdog:
    """Looks at the consumers of a worker every second.

    The consumers use the same `clock`. The broker is asked only when something seems to be stuck: nothing
    moves for half of `stall_timeout_s`.
    """

    def __init__(
        self,
        clock: WatchClock,
        *,
        ask_ends: AskEnds,
        stall_timeout_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._ask_ends = ask_ends
        self._stall_timeout_s = stall_timeout_s
        self._sleep = sleep
        self._monotonic = monotonic
        self._watches: dict[str, tuple[Callable[[], ConsumerView], StageWatch]] = {}
        self._asked_at = float("-inf")
        self.beats = 0
        self.stalled: Stall | None = None

    def watch(self, name: str, view: Callable[[], ConsumerView]) -> None:
        """Watch one more consumer."""
        watch = StageWatch(now=self._clock())
        self._watches[name] = view, watch

    def reports(self) -> tuple[StageReport, ...]:
        """Return how each consumer stands."""
        now = self._clock()
        return tuple(_report(view(), watch, now) for view, watch in self._watches.values())

    async def run(self) -> BaseException:
        """Watch; returns a `WorkerStalled` when a consumer is stuck."""
        last = self._monotonic()
        while True:
            await self._sleep(_STEP_S)
            self.beats += 1
            now = self._monotonic()
            self._clock.advance(now - last)
            last = now
            for view, watch in self._watches.values():
                suspicion = watch.look(view(), self._clock(), longer_than_s=self._stall_timeout_s * _UNEASY)
                if suspicion is None:
                    continue
                certain = suspicion.for_s > self._stall_timeout_s
                if (
                    (certain or self._may_ask())
                    and await self._could_move(suspicion, view(), watch)
                    and certain
                ):
                    return self._stall(suspicion)

    def _may_ask(self) -> bool:
        return self._clock() - self._asked_at >= self._stall_timeout_s * _ASK_AGAIN

    async def _could_move(self, suspicion: Stall, view: ConsumerView, watch: StageWatch) -> bool:
        """Ask the broker, on a connection of its own, whether anything could have moved. If not, begin anew.

        It is asked several times before anything counts as stuck. So after a broker that was away comes back,
        every consumer has at least half of the stall time-out to go on.
        """
        self._asked_at = self._clock()
        places = [(each.topic, each.partition) for each in view.partitions]
        ends = await self._ask_ends(places)
        if ends is None:
            log.info("worker.waits_for_broker", stage=suspicion.stage, seen=suspicion.what)
            for _, each in self._watches.values():
                each.forgive(self._clock())
            return False
        behind = any(
            each.position is not None and ends.get((each.topic, each.partition), 0) > each.position
            for each in view.partitions
        )
        if suspicion.what in NEEDS_RECORDS and not behind:
            watch.forgive(self._clock())
            return False
        return True

    def _stall(self, suspicion: Stall) -> WorkerStalled:
        self.stalled = suspicion
        stages = {report.view.name: _seen(report) for report in self.reports()}
        log.error("worker.stalled", **msgspec.to_builtins(suspicion) | {"stages": stages})
        return WorkerStalled(
            f"stage {suspicion.stage} is stuck ({suspicion.what}) since {suspicion.for_s:.0f} s: "
            f"{suspicion.detail}"
        )


class ProcessGuard:
    """A thread that ends the process when its event loop is blocked, or when it does not end in time.

    `beats` returns a number that the event loop raises about every second. It may stay the same for
    `limit_s`, counted in the thread's own steps. `end` ends the process at once, with an exit status.
    """

    def __init__(
        self, beats: Callable[[], int], *, limit_s: float, end: Callable[[int], None] | None = None
    ) -> None:
        self._beats = beats
        self._limit_s = limit_s
        self._end = end or _end
        self._last = beats()
        self._silent_s = 0.0
        self._left_s: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-guard", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def end_within(self, seconds: float) -> None:
        """End the process after so many seconds, if it has not ended by then."""
        self._left_s = seconds

    def step(self) -> bool:
        """Look once; return whether the process must end now."""
        beats = self._beats()
        self._silent_s = 0.0 if beats != self._last else self._silent_s + _STEP_S
        self._last = beats
        if self._left_s is not None:
            self._left_s -= _STEP_S
            return self._left_s <= 0
        return self._silent_s > self._limit_s

    def _run(self) -> None:
        while not self._stopped.wait(_STEP_S):
            if self.step():
                what = "blocked_event_loop" if self._left_s is None else "does_not_end"
                log.error("worker.stalled", what=what, for_s=self._silent_s)
                self._end(EXIT_STUCK)
                return


def _end(status: int) -> None:
    """Write every thread's stack to the log and end the process, without any clean-up."""
    faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
    os._exit(status)


def _report(view: ConsumerView, watch: StageWatch, now: float) -> StageReport:
    return StageReport(
        view=view,
        oldest_in_flight_s=max((now - work.began_at for work in view.in_flight), default=0.0),
        last_ack_age_s=None if view.last_ack_at is None else now - view.last_ack_at,
        last_commit_age_s=None if watch.last_commit_at is None else now - watch.last_commit_at,
    )


def _seen(report: StageReport) -> dict[str, object]:
    view = report.view
    return {
        "partitions": [
            f"{each.partition}: committed {each.committed}, read {each.position}, end {each.highwater}"
            for each in view.partitions
        ],
        "in_flight": len(view.in_flight),
        "lag": view.lag,
        "oldest_in_flight_s": round(report.oldest_in_flight_s),
        "last_ack_age_s": report.last_ack_age_s and round(report.last_ack_age_s),
        "last_commit_age_s": report.last_commit_age_s and round(report.last_commit_age_s),
        "rebalancing": view.rebalancing,
    }

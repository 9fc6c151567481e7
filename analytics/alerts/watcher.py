"""The watcher: looks every few seconds, and writes to `llm.alerts.v1` what begins and what is over.

A window is judged once it is certain that all its log records are stored, however far behind the sink may
be; so late records raise no alarm, they only delay the judgement. Several processes may run a watcher: one
of them watches (`analytics/alerts/alert_log.py`).
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from analytics.alerts.alert_states import AlertStates
from analytics.alerts.anomalies import MEASURES, AnomalyLimits, judge
from analytics.alerts.budgets import RULES as BUDGET_RULES
from analytics.alerts.freshness import RULES as FRESHNESS_RULES
from analytics.alerts.freshness import FreshnessLimits, judge_freshness
from analytics.alerts.status import WatchStatus
from analytics.alerts.verdicts import SeriesVerdict
from analytics.alerts.windows import AlertWindow, FiguresByTenant
from analytics.budgets import begin_of_day
from analytics.sink.status import Clock, utc_now
from streams.errors import KafkaUnavailable, TransientFault
from streams.events import AlertRaised

log = structlog.get_logger(__name__)

_ANOMALY_RULES = tuple(measure.rule for measure in MEASURES)

#: The log record of a request is written this long after it has finished, at the latest.
_SETTLING = timedelta(seconds=5)

#: After an outage windows are judged one after the other; not those that ended earlier than this.
_OLDEST_WINDOW = timedelta(days=1)


class WatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched, and how often.

    `interval_s` is the time between two looks, `budget_interval_s` the least between two at the budgets,
    `history_days` how far back windows are compared.
    """

    limits: AnomalyLimits
    freshness: FreshnessLimits
    history_days: int = 28
    interval_s: float = 10.0
    budget_interval_s: float = 30.0


class Reader(Protocol):
    """What there is in ClickHouse."""

    async def figures(self, window: AlertWindow) -> FiguresByTenant:
        """Return the figures of a window."""

    async def newest(self, now: datetime) -> dict[str, datetime]:
        """Return when each table's newest row was written."""


class Progress(Protocol):
    """How far the sinks are."""

    async def lag(self) -> int:
        """Return how many records are not stored."""

    async def stored_before(self, at: datetime) -> bool:
        """Return whether everything that was written before `at` is stored."""

    async def oldest_s(self, now: datetime, *, at_least: timedelta) -> float:
        """Return the age of the oldest record that is not stored; 0 where it is below `at_least`."""


class Memory(Protocol):
    """Where alerts are written, and read again."""

    async def chosen(self) -> bool:
        """Return whether this process is the one that watches."""

    async def take_over(self) -> list[AlertRaised]:
        """Return everything that was written, and let nobody else write."""

    async def publish(self, event: AlertRaised) -> None:
        """Write one record."""

    async def judged_until(self) -> datetime | None:
        """Return until when windows have been judged."""

    async def note_judged(self, until: datetime) -> None:
        """Take note of that."""

    async def let_go(self) -> None:
        """Write no more."""


class BudgetLook(Protocol):
    """How much of the day's budgets is spent."""

    async def verdicts(self, now: datetime, standing: Iterable[AlertRaised]) -> list[SeriesVerdict]:
        """Return what is to be said of them, given the alerts that stand."""


class Archive(Protocol):
    """Where analysts find the alerts."""

    async def store(self, events: Sequence[AlertRaised]) -> None:
        """Store records; one that is there already changes nothing."""


class Watcher:
    """Watches until it is told to stop. Faults of others are waited out; `status` counts them.

    Args:
        config: what, and how often.
        reader: ClickHouse.
        progress: how far the sinks are.
        memory: the alerts topic.
        archive: a copy of it for analysts, which lags behind where ClickHouse is away.
        status: where it says what it sees.
        budgets: the day's budgets; None where there are none.
        clock: the time.
    """

    def __init__(
        self,
        config: WatchConfig,
        reader: Reader,
        progress: Progress,
        memory: Memory,
        archive: Archive,
        *,
        status: WatchStatus,
        budgets: BudgetLook | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._config = config
        self._reader = reader
        self._progress = progress
        self._memory = memory
        self._archive = archive
        self._not_archived: list[AlertRaised] = []
        self._status = status
        self._budgets = budgets
        self._budgets_at: datetime | None = None
        self._clock = clock
        self._book: AlertStates | None = None
        self._next: AlertWindow | None = None
        self._failing = False

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop` is set."""
        while not stop.is_set():
            await self.round()
            try:
                await asyncio.wait_for(stop.wait(), self._config.interval_s)
            except TimeoutError:
                continue

    async def round(self) -> None:
        """Look once."""
        try:
            await self._look()
        except TransientFault as fault:
            if isinstance(fault, KafkaUnavailable):
                self._book = None  # whether the last record was written is for the topic to say
            self._status.failed_rounds += 1
            if not self._failing:  # told when it begins, not at each try
                log.warning("watcher.outage", error=str(fault))
            self._failing = True
        else:
            if self._failing:
                log.info("watcher.recovered")
            self._failing = False
            self._status.standing = self._book.standing if self._book is not None else ()
        self._status.rounds += 1
        self._status.round_at = self._clock()

    async def _look(self) -> None:
        now = self._clock()
        lag = await self._progress.lag()
        stale_s = await self._progress.oldest_s(
            now, at_least=timedelta(seconds=self._config.freshness.stale_s)
        )
        self._status.sink_lag_records, self._status.sink_stale_s = lag, stale_s
        self._status.watching = await self._memory.chosen()
        if not self._status.watching:
            if self._book is not None:
                self._book = None
                await self._memory.let_go()
        else:
            book = await self._opened()
            await self._watch_freshness(book, now, lag, stale_s)
            # ClickHouse last: what is said of the sinks does not depend on it.
            await self._watch_budgets(book, now)
            for window in self._due(now):
                if not await self._progress.stored_before(window.until + _SETTLING):
                    break
                await self._watch_window(book, window)
                self._next = window.next
                await self._memory.note_judged(window.until)
            await self._archive.store(self._not_archived)
            self._not_archived = []
        self._status.newest_rows = await self._reader.newest(now)

    async def _opened(self) -> AlertStates:
        """Return the book, from the topic where it is not open."""
        if self._book is None:
            book = AlertStates()
            self._not_archived = await self._memory.take_over()
            for event in self._not_archived:
                book.record(event)
            self._book = book
            # What had spoken for a change is forgotten: look once more at the last that was judged.
            judged_until = await self._memory.judged_until()
            self._next = (
                AlertWindow.last_closed(judged_until, self._config.limits.window) if judged_until else None
            )
        return self._book

    async def _watch_freshness(self, book: AlertStates, now: datetime, lag: int, stale_s: float) -> None:
        verdicts = judge_freshness(lag_records=lag, stale_s=stale_s, limits=self._config.freshness)
        window = AlertWindow(now - timedelta(seconds=self._config.interval_s), now)
        await self._say(book, verdicts, window, FRESHNESS_RULES)

    async def _watch_budgets(self, book: AlertStates, now: datetime) -> None:
        pause = timedelta(seconds=self._config.budget_interval_s)
        if self._budgets is None or (self._budgets_at is not None and now < self._budgets_at + pause):
            return
        verdicts = await self._budgets.verdicts(now, book.standing)
        await self._say(book, verdicts, AlertWindow(begin_of_day(now), now), BUDGET_RULES)
        self._budgets_at = now

    async def _watch_window(self, book: AlertStates, window: AlertWindow) -> None:
        figures = await self._reader.figures(window)
        history = [
            await self._reader.figures(earlier)
            for earlier in window.same_on_earlier_days(self._config.history_days)
        ]
        # Seconds of work where there are a thousand tenants: the sink's loop must go on turning.
        verdicts = await asyncio.to_thread(judge, figures, history, self._config.limits)
        await self._say(book, verdicts, window, _ANOMALY_RULES)
        self._status.judged_until = window.until

    async def _say(
        self, book: AlertStates, verdicts: Iterable[SeriesVerdict], window: AlertWindow, rules: Iterable[str]
    ) -> None:
        for event in book.judge(verdicts, window, rules=rules, at=self._clock()):
            await self._memory.publish(event)
            book.record(event)
            self._not_archived.append(event)
            raised = event.state == "raised"
            self._status.raised += raised
            self._status.resolved += not raised
            log.warning(
                "watcher.raised" if raised else "watcher.resolved",
                alert=event.alert_id,
                message=event.message,
            )

    def _due(self, now: datetime) -> Iterator[AlertWindow]:
        """Yield the windows that are over and not judged yet, the oldest first."""
        newest = AlertWindow.last_closed(now - _SETTLING, self._config.limits.window)
        window = self._next or newest.earlier(1)
        oldest = AlertWindow.last_closed(now - _OLDEST_WINDOW, self._config.limits.window)
        window = max(window, oldest, key=lambda each: each.since)
        while window.until <= newest.until:
            yield window
            window = window.next

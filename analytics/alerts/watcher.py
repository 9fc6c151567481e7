"""The watcher: judges windows of requests every few seconds, and writes changes of alerts to `llm.alerts.v1`.

A window is judged once all its log records are stored, however far behind the sink is: late records raise no
alert, they only delay the judgement. Several processes may run a watcher; one of them is the leader and
watches (`analytics.alerts.alert_log`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import msgspec
import structlog

from analytics.alerts.alert_log import AlertLog, store_alerts
from analytics.alerts.alert_states import AlertStates, SeriesVerdict
from analytics.alerts.anomalies import MEASURES, AnomalyLimits, judge
from analytics.alerts.fixed_limits import (
    BUDGET_RULES,
    FRESHNESS_RULES,
    begin_of_day,
    budget_verdicts,
    judge_freshness,
)
from analytics.alerts.windows import AlertWindow, WindowReader
from analytics.clickhouse import ClickHouse
from analytics.lags import SinkProgress
from analytics.status import Clock, WatchStatus, utc_now
from streams.errors import KafkaUnavailable, TransientFault
from streams.events import AlertRaised
from streams.kafka.record_auth import RecordAuth
from streams.settings import Settings
from streams.tasks import event_within, unless_stopped

log = structlog.get_logger(__name__)

#: Returns the verdicts on the budgets at a time, given the alerts that stand.
BudgetVerdicts = Callable[[datetime, Iterable[AlertRaised]], Awaitable[list[SeriesVerdict]]]

_ANOMALY_RULES = tuple(measure.rule for measure in MEASURES)

#: The log record of a request is written this long after it has finished, at the latest.
_SETTLING = timedelta(seconds=5)

#: The least time between two looks at the budgets.
_BUDGET_PAUSE = timedelta(seconds=30)

#: The time between two looks: short windows are looked at more often.
_LONGEST_INTERVAL_S = 10.0
_LOOKS_PER_WINDOW = 4

#: After an outage windows are judged one after the other; not those that ended earlier than this.
_OLDEST_WINDOW = timedelta(days=1)


class WatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched, and how often.

    Records that are not stored become an alert at the age `stale_s` or the number `lag_records`. `interval_s`
    is the time between two looks, `history_days` how far back windows are compared.
    """

    limits: AnomalyLimits
    stale_s: float
    lag_records: int
    history_days: int = 28
    interval_s: float = 10.0


@dataclass(eq=False)
class Watcher:
    """Looks at intervals until it is told to stop. It waits out outages; `status` counts them.

    What is stored lags behind `alert_log` while ClickHouse is down.
    """

    config: WatchConfig
    figures: WindowReader
    progress: SinkProgress
    alert_log: AlertLog
    store: Callable[[Sequence[AlertRaised]], Awaitable[None]]
    status: WatchStatus
    budgets: BudgetVerdicts | None = None
    clock: Clock = utc_now
    _not_stored: list[AlertRaised] = field(default_factory=list, init=False)
    _budgets_at: datetime | None = field(default=None, init=False)
    _states: AlertStates | None = field(default=None, init=False)
    _next: AlertWindow | None = field(default=None, init=False)
    _failing: bool = field(default=False, init=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop` is set."""
        while not stop.is_set():
            await self.round()
            await event_within(stop, self.config.interval_s)

    async def round(self) -> None:
        """Look once."""
        try:
            await self._look()
        except TransientFault as fault:
            if isinstance(fault, KafkaUnavailable):
                self._states = None  # whether the last record was written is for the topic to say
            self.status.failed_rounds += 1
            if not self._failing:  # told when it begins, not at each try
                log.warning("watcher.outage", error=str(fault))
            self._failing = True
        else:
            if self._failing:
                log.info("watcher.recovered")
            self._failing = False
            self.status.standing = self._states.standing if self._states is not None else ()
        self.status.round_at = self.clock()

    async def _look(self) -> None:
        now = self.clock()
        lag = await self.progress.lag()
        stale_s = await self.progress.oldest_s(now, at_least=timedelta(seconds=self.config.stale_s))
        self.status.sink_lag_records, self.status.sink_stale_s = lag, stale_s
        self.status.watching = await self.alert_log.is_leader()
        if not self.status.watching:
            if self._states is not None:
                self._states = None
                await self.alert_log.resign()
        else:
            states = await self._known_states()
            await self._watch_freshness(states, now, lag, stale_s)
            # ClickHouse last: what is said of the sinks does not depend on it.
            await self._watch_budgets(states, now)
            for window in self._due(now):
                if not await self.progress.stored_before(window.until + _SETTLING):
                    break
                await self._watch_window(states, window)
                self._next = window.next
                await self.alert_log.note_judged(window.until)
            await self.store(self._not_stored)
            self._not_stored = []
        self.status.newest_rows = await self.figures.newest(now)

    async def _known_states(self) -> AlertStates:
        if self._states is None:
            states = AlertStates()
            self._not_stored = await self.alert_log.take_over()
            for event in self._not_stored:
                states.record(event)
            self._states = states
            # What had spoken for a change is forgotten: look once more at the last that was judged.
            judged_until = await self.alert_log.judged_until()
            self._next = (
                AlertWindow.last_closed(judged_until, self.config.limits.window) if judged_until else None
            )
        return self._states

    async def _watch_freshness(self, states: AlertStates, now: datetime, lag: int, stale_s: float) -> None:
        verdicts = judge_freshness((stale_s, self.config.stale_s), (lag, self.config.lag_records))
        window = AlertWindow(now - timedelta(seconds=self.config.interval_s), now)
        await self._publish(states, verdicts, window, FRESHNESS_RULES)

    async def _watch_budgets(self, states: AlertStates, now: datetime) -> None:
        if self.budgets is None or (self._budgets_at is not None and now < self._budgets_at + _BUDGET_PAUSE):
            return
        verdicts = await self.budgets(now, states.standing)
        await self._publish(states, verdicts, AlertWindow(begin_of_day(now), now), BUDGET_RULES)
        self._budgets_at = now

    async def _watch_window(self, states: AlertStates, window: AlertWindow) -> None:
        windows = [window, *window.same_on_earlier_days(self.config.history_days)]
        figures, *history = await self.figures.figures(windows)
        # Seconds of work where there are a thousand tenants: the sink's loop must go on turning.
        verdicts = await asyncio.to_thread(judge, figures, history, self.config.limits)
        await self._publish(states, verdicts, window, _ANOMALY_RULES)
        self.status.judged_until = window.until

    async def _publish(
        self,
        states: AlertStates,
        verdicts: Iterable[SeriesVerdict],
        window: AlertWindow,
        rules: Iterable[str],
    ) -> None:
        for event in states.judge(verdicts, window, rules=rules, at=self.clock()):
            await self.alert_log.publish(event)
            states.record(event)
            self._not_stored.append(event)
            raised = event.state == "raised"
            self.status.raised += raised
            self.status.resolved += not raised
            told = "watcher.raised" if raised else "watcher.resolved"
            log.warning(told, alert=event.alert_id, message=event.message)

    def _due(self, now: datetime) -> Iterator[AlertWindow]:
        newest = AlertWindow.last_closed(now - _SETTLING, self.config.limits.window)
        oldest = AlertWindow.last_closed(now - _OLDEST_WINDOW, self.config.limits.window)
        window = max(self._next or newest.earlier(1), oldest, key=lambda each: each.since)
        while window.until <= newest.until:
            yield window
            window = window.next


async def watch(settings: Settings, status: WatchStatus, stop: asyncio.Event, clickhouse: ClickHouse) -> None:
    """Watch until `stop` is set."""
    progress = SinkProgress(settings.kafka_bootstrap, timeout_s=settings.kafka_timeout_s)
    alert_log = AlertLog(
        settings.kafka_bootstrap,
        instance_id=settings.instance_id,
        timeout_s=settings.kafka_timeout_s,
        auth=RecordAuth.from_settings(settings),
    )
    watcher = Watcher(
        watch_config(settings),
        WindowReader(clickhouse),
        progress,
        alert_log,
        partial(store_alerts, clickhouse),
        status=status,
        budgets=partial(budget_verdicts, settings.daily_budgets, clickhouse),
    )
    try:
        await unless_stopped(stop, watcher.run(stop))
    finally:
        await alert_log.stop()
        await progress.close()
        log.info("watcher.stopped")


def watch_config(settings: Settings) -> WatchConfig:
    """Return what the settings say about watching."""
    return WatchConfig(
        limits=AnomalyLimits(
            window=timedelta(seconds=settings.alert_window_s), requests=settings.alert_min_requests
        ),
        stale_s=settings.alert_stale_s,
        lag_records=settings.alert_lag_records,
        history_days=settings.alert_history_days,
        interval_s=min(settings.alert_window_s / _LOOKS_PER_WINDOW, _LONGEST_INTERVAL_S),
    )

"""The watcher's rounds: what it waits for, and that each change is told once whatever fails."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.alerts.alert_states import SeriesVerdict
from analytics.alerts.anomalies import AnomalyLimits
from analytics.alerts.fixed_limits import BudgetStanding, begin_of_day, judge_budgets
from analytics.alerts.watcher import BudgetVerdicts, WatchConfig, Watcher
from analytics.alerts.windows import EVERYBODY, AlertWindow, FiguresByTenant, WindowFigures
from analytics.status import WatchStatus
from streams.codec import decode, encode
from streams.errors import ClickHouseUnavailable, KafkaUnavailable
from streams.events import AlertRaised

LENGTH = timedelta(minutes=15)
BEGIN = datetime(2026, 11, 20, 8, tzinfo=UTC)
CONFIG = WatchConfig(limits=AnomalyLimits(window=LENGTH), stale_s=300.0, lag_records=1_000)
QUIET = WindowFigures(requests=1_000, errors=10, replies=990, p95_ms=900.0, spend_usd=5.0)
BAD = WindowFigures(requests=1_000, errors=300, replies=700, p95_ms=900.0, spend_usd=5.0)


class Rows:
    """ClickHouse: quiet but where it is told otherwise."""

    def __init__(self, bad: Callable[[datetime], bool] = lambda _: False) -> None:
        self._bad = bad
        self.asked: list[AlertWindow] = []
        self.away = False

    async def figures(self, windows: Sequence[AlertWindow]) -> list[FiguresByTenant]:
        if self.away:
            raise ClickHouseUnavailable("away")
        self.asked += windows
        return [{EVERYBODY: BAD if self._bad(each.since) else QUIET} for each in windows]

    async def newest(self, now: datetime) -> dict[str, datetime]:
        return {"requests": now}


class Sinks:
    """How far the sinks are: everything stored, until told otherwise."""

    def __init__(self) -> None:
        self.stored_until = datetime.max.replace(tzinfo=UTC)
        self.records = 0
        self.stale_s = 0.0

    async def lag(self) -> int:
        return self.records

    async def stored_before(self, at: datetime) -> bool:
        return at <= self.stored_until

    async def oldest_s(self, now: datetime, *, at_least: timedelta) -> float:
        return self.stale_s


class Topic:
    """The alerts topic. Each write takes its fate from `fates`: fine, lost, or written without an answer."""

    def __init__(self, fates: list[str] | None = None) -> None:
        self.values: list[bytes] = []
        self.mine = True
        self.taken_over = 0
        self.judged: datetime | None = None
        self._fates = fates or []

    async def is_leader(self) -> bool:
        return self.mine

    async def take_over(self) -> list[AlertRaised]:
        self.taken_over += 1
        return self.events

    async def publish(self, event: AlertRaised) -> None:
        fate = self._fates.pop(0) if self._fates else "fine"
        if fate != "lost":
            self.values.append(encode(event))
        if fate != "fine":
            raise KafkaUnavailable(fate)

    async def judged_until(self) -> datetime | None:
        return self.judged

    async def note_judged(self, until: datetime) -> None:
        self.judged = until

    async def resign(self) -> None:
        self.taken_over = -1

    @property
    def events(self) -> list[AlertRaised]:
        return [decode(value, AlertRaised) for value in self.values]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.alert_id, event.state) for event in self.events]


class Copies:
    """The analysts' copy; away while the rows are."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.told: set[tuple[str, str]] = set()

    async def store(self, events: Sequence[AlertRaised]) -> None:
        if self._rows.away:
            raise ClickHouseUnavailable("away")
        self.told |= {(event.alert_id, event.state) for event in events}


class Spending:
    """A budget of five dollars, of which a dollar an hour is spent, from midnight on."""

    def __init__(self) -> None:
        self.asked: list[datetime] = []

    async def __call__(self, now: datetime, standing: Iterable[AlertRaised]) -> list[SeriesVerdict]:
        self.asked.append(now)
        spent = Decimal((now - begin_of_day(now)) / timedelta(hours=1))
        budget = BudgetStanding(tenant="acme", daily_usd=Decimal(5), spent_usd=spent, day=now.date())
        return judge_budgets([budget], standing)


class Bench:
    """A watcher, and what it looks at."""

    def __init__(
        self, bad: Callable[[datetime], bool] = lambda _: False, fates: list[str] | None = None
    ) -> None:
        self.now = BEGIN
        self.rows, self.sinks, self.topic, self.status = Rows(bad), Sinks(), Topic(fates), WatchStatus()
        self.copies = Copies(self.rows)
        self.budgets: BudgetVerdicts | None = None
        self.watcher = self.another()

    def another(self) -> Watcher:
        """Another process's watcher over the same parts."""
        return Watcher(
            CONFIG,
            self.rows,
            self.sinks,
            self.topic,
            self.copies.store,
            status=self.status,
            budgets=self.budgets,
            clock=lambda: self.now,
        )

    async def until(self, end: datetime, step: timedelta = LENGTH) -> None:
        while self.now < end:
            self.now += step
            await self.watcher.round()


def at(hours: float) -> datetime:
    return BEGIN + timedelta(hours=hours)


def between(begin: float, end: float) -> Callable[[datetime], bool]:
    """A burst of errors between two times, in hours after the beginning."""
    return lambda since: at(begin) <= since < at(end)


ERRORS = "error_rate:above:*:2026-11-20T09:00:00Z"


async def test_a_burst_of_errors_is_one_alert_and_its_end_is_one_too() -> None:
    """Raised after its second window, resolved after the second calm one."""
    bench = Bench(between(1, 2))
    await bench.until(at(4))
    assert bench.topic.told == [(ERRORS, "raised"), (ERRORS, "resolved")]
    raised, resolved = bench.topic.events
    assert (raised.began_at, raised.window_until) == (at(1), at(1.5))
    assert raised.observed == 0.3
    assert raised.expected == pytest.approx(0.01, abs=1e-4)
    assert raised.history_windows == 20
    assert resolved.window_until == at(2.5)
    assert (bench.status.raised, bench.status.resolved, list(bench.status.standing)) == (1, 1, [])


async def test_a_window_is_judged_only_when_all_of_it_is_stored() -> None:
    """A sink that is behind delays the judgement; then each window is judged, in order."""
    bench = Bench(between(1, 2))
    await bench.until(at(1))
    bench.sinks.stored_until = at(1.1)
    await bench.until(at(3))
    assert bench.topic.told == []
    assert bench.status.judged_until == at(1)
    bench.sinks.stored_until = datetime.max.replace(tzinfo=UTC)
    await bench.until(at(3.25))
    assert bench.topic.told == [(ERRORS, "raised"), (ERRORS, "resolved")]
    assert bench.status.judged_until == at(3)


async def test_a_lag_of_the_sink_is_told_though_clickhouse_is_away() -> None:
    """What is not stored is asked of Kafka."""
    bench = Bench()
    bench.rows.away = True
    bench.sinks.records, bench.sinks.stale_s = 5_000, 600.0
    await bench.until(at(1))
    assert [(event.rule, event.state) for event in bench.topic.events] == [
        ("sink_stale", "raised"),
        ("sink_lag", "raised"),
    ]
    assert bench.status.failed_rounds == 4
    assert bench.status.sink_lag_records == 5_000
    bench.rows.away, bench.sinks.records, bench.sinks.stale_s = False, 0, 0.0
    await bench.until(at(1.25))
    assert [event.state for event in bench.topic.events[2:]] == ["resolved", "resolved"]
    assert bench.copies.told == set(bench.topic.told)


async def test_who_is_not_chosen_only_looks() -> None:
    """It knows the lag and the newest rows, and writes nothing; a watcher that is replaced lets go."""
    bench = Bench(between(0, 9))
    bench.topic.mine = False
    await bench.until(at(2))
    assert (bench.topic.values, bench.status.watching, bench.status.sink_lag_records) == ([], False, 0)
    assert bench.status.newest_rows == {"requests": at(2)}
    bench.topic.mine = True
    await bench.until(at(3))
    assert len(bench.topic.values) == 1
    bench.topic.mine = False
    await bench.until(at(3.25))
    assert (bench.topic.taken_over, bench.status.standing) == (-1, ())


async def test_the_windows_of_an_outage_are_judged_afterwards() -> None:
    """A burst that came and went while ClickHouse was away is told; one of two days ago is not."""
    bench = Bench(between(1, 2))
    await bench.until(at(0.5))
    bench.rows.away = True
    await bench.until(at(5))
    bench.rows.away = False
    await bench.until(at(5.25))
    assert bench.topic.told == [(ERRORS, "raised"), (ERRORS, "resolved")]
    late = Bench(between(1, 2))
    await late.until(at(0.5))
    late.now = at(50)
    await late.until(at(50.25))
    assert late.topic.told == []
    assert late.status.judged_until == at(50)


async def test_an_outage_of_clickhouse_does_not_open_the_topic_again() -> None:
    """Nothing was being written: the book is what the topic holds. An outage of Kafka leaves that open."""
    bench = Bench(between(1, 2), fates=["unanswered"])
    await bench.until(at(0.5))
    bench.rows.away = True
    await bench.until(at(5))
    assert (bench.topic.taken_over, bench.status.failed_rounds) == (1, 18)
    bench.rows.away = False
    await bench.until(at(5.25))
    assert bench.topic.told == [(ERRORS, "raised")]
    await bench.until(at(5.5))
    assert bench.topic.told == [(ERRORS, "raised"), (ERRORS, "resolved")]
    assert (bench.topic.taken_over, bench.status.failed_rounds) == (2, 19)
    assert bench.copies.told == set(bench.topic.told)


async def test_budgets_are_told_once_a_day_whoever_watches() -> None:
    """At 80 % and beyond the whole; over at midnight. Writes that are lost and restarts change nothing."""
    bench = Bench(fates=["lost", "unanswered", *["fine"] * 9, "unanswered", "lost"])
    bench.budgets = Spending()
    for hours in range(16, 62, 3):  # from midnight on for two days
        bench.watcher = bench.another()
        await bench.until(at(hours))
        await bench.watcher.round()
    days = [f"2026-11-{day}T00:00:00Z" for day in (20, 21, 22)]
    told = [(event.alert_id, event.state) for event in bench.topic.events]
    assert sorted(told) == sorted(
        (f"{rule}:above:acme:{day}", state)
        for rule in ("budget_80", "budget_exceeded")
        for day in days
        for state in ("raised", "resolved")
        if (day, state) != (days[-1], "resolved")
    )


async def test_budgets_are_looked_at_every_half_minute() -> None:
    """However often the watcher looks: it sums up a day's requests."""
    bench = Bench()
    spending = bench.budgets = Spending()
    bench.watcher = bench.another()
    await bench.until(BEGIN + timedelta(minutes=3), step=timedelta(seconds=10))
    assert len(spending.asked) == 6


@settings(max_examples=60)
@given(
    fates=st.lists(st.sampled_from(("fine", "lost", "unanswered")), max_size=8),
    restarts=st.sets(st.integers(0, 20)),
    outages=st.sets(st.integers(1, 20)),  # before the first look there is nothing to go on from
)
async def test_every_change_is_told_exactly_once(
    fates: list[str], restarts: set[int], outages: set[int]
) -> None:
    """Writes lost or not answered, restarts, and ClickHouse away at any round: two bursts, four records."""
    bench = Bench(lambda since: between(1, 1.75)(since) or between(2.5, 3)(since), [*fates, *["fine"] * 99])
    for number in range(20):
        if number in restarts:
            bench.watcher = bench.another()
            if number % 3 == 0:
                bench.now += LENGTH  # nobody watched for a while
        bench.now += LENGTH
        bench.rows.away = number in outages
        await bench.watcher.round()
    bench.rows.away = False
    failed = -1
    while failed != bench.status.failed_rounds:
        failed = bench.status.failed_rounds
        await bench.watcher.round()
    second = "error_rate:above:*:2026-11-20T10:30:00Z"
    assert bench.topic.told == [
        (ERRORS, "raised"),
        (ERRORS, "resolved"),
        (second, "raised"),
        (second, "resolved"),
    ]
    assert bench.copies.told == set(bench.topic.told)

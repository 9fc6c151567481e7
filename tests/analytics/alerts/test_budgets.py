"""Alerts on the day's budgets: when each is raised, and that it is over with its day."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from analytics.alerts.alert_states import AlertStates, MeasureState
from analytics.alerts.fixed_limits import (
    BUDGET_RULES,
    EXCEEDED,
    NEARLY,
    BudgetStanding,
    begin_of_day,
    budget_verdicts,
    judge_budgets,
)
from analytics.alerts.windows import EVERYBODY, AlertWindow
from analytics.clickhouse import ClickHouse
from streams.events import AlertRaised
from tests.analytics.logs import NOON, make_log
from tests.analytics.stored_logs import store

DAY = date(2026, 11, 21)
MORNING = datetime(2026, 11, 21, 6, tzinfo=UTC)


def budget(spent: str, *, tenant: str = "acme", day: date = DAY) -> BudgetStanding:
    return BudgetStanding(tenant=tenant, daily_usd=Decimal(5), spent_usd=Decimal(spent), day=day)


@pytest.mark.parametrize(
    ("spent", "nearly", "exceeded"),
    [
        ("0", MeasureState.UNCLEAR, MeasureState.UNCLEAR),
        ("3.999999999", MeasureState.UNCLEAR, MeasureState.UNCLEAR),
        ("4", MeasureState.ANOMALOUS, MeasureState.UNCLEAR),
        ("5", MeasureState.ANOMALOUS, MeasureState.UNCLEAR),
        ("5.000000001", MeasureState.ANOMALOUS, MeasureState.ANOMALOUS),
    ],
)
def test_from_80_percent_on_and_beyond_the_whole(
    spent: str, nearly: MeasureState, exceeded: MeasureState
) -> None:
    """To the nano-dollar; exactly the budget is not beyond it."""
    found = {verdict.series.rule: verdict for verdict in judge_budgets([budget(spent)], [])}
    assert (found[NEARLY].finding, found[EXCEEDED].finding) == (nearly, exceeded)
    assert (found[NEARLY].expected, found[EXCEEDED].expected) == (4.0, 5.0)
    assert (found[NEARLY].severe, found[EXCEEDED].severe) == (False, True)


def test_all_tenants_together_are_a_series_of_their_own() -> None:
    """Under the name that the other rules have for them."""
    found = judge_budgets([budget("1", tenant="*"), budget("1")], [])
    assert [verdict.series.tenant for verdict in found] == [EVERYBODY, EVERYBODY, "acme", "acme"]


def looks(book: AlertStates, *spent: tuple[datetime, str]) -> Iterator[AlertRaised]:
    """What is told when the watcher looks at these times and finds so much spent."""
    for now, usd in spent:
        verdicts = judge_budgets([budget(usd, day=now.date())], book.standing)
        for event in book.judge(verdicts, AlertWindow(begin_of_day(now), now), rules=BUDGET_RULES, at=now):
            book.record(event)
            yield event


def test_each_is_told_once_a_day_and_is_over_with_the_day() -> None:
    """Spend that grows, or is corrected, says nothing more; the next day has alerts of its own."""
    hour = timedelta(hours=1)
    next_day = MORNING + 24 * hour
    told = list(
        looks(
            AlertStates(),
            (MORNING, "3"),
            (MORNING + hour, "4.1"),
            (MORNING + 2 * hour, "4.5"),
            (MORNING + 3 * hour, "5.5"),
            (MORNING + 4 * hour, "2"),  # a user was deleted
            (MORNING + 5 * hour, "7"),
            (next_day, "4.2"),
            (next_day + hour, "4.3"),
        )
    )
    first, second = "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"
    assert [(event.alert_id, event.state) for event in told] == [
        (f"{NEARLY}:above:acme:{first}", "raised"),
        (f"{EXCEEDED}:above:acme:{first}", "raised"),
        (f"{NEARLY}:above:acme:{first}", "resolved"),
        (f"{EXCEEDED}:above:acme:{first}", "resolved"),
        (f"{NEARLY}:above:acme:{second}", "raised"),
    ]
    assert [event.severity for event in told[:2]] == ["warning", "critical"]
    assert (
        told[0].message
        == "Tenant acme has spent 4.10 USD on 2026-11-21: 82.0% of the daily budget of 5.00 USD"
    )
    assert told[2].message.startswith("Over: Tenant acme has spent 4.20 USD on the new day, 2026-11-22")


def test_small_budgets_are_readable() -> None:
    """Not 0.00 of 0.00 dollars."""
    small = BudgetStanding(tenant="*", daily_usd=Decimal("0.002"), spent_usd=Decimal("0.0019"), day=DAY)
    [nearly, _] = judge_budgets([small], [])
    assert nearly.sentence == (
        "All tenants together have spent 0.001900 USD on 2026-11-21: 95.0% of the daily budget of 0.002000 "
        "USD"
    )


def test_an_alert_of_yesterday_ends_although_nobody_watched_at_midnight() -> None:
    """A watcher that begins anew reads from the topic what stands."""
    book = AlertStates()
    [raised] = list(looks(book, (MORNING, "4.1")))
    another = AlertStates()
    another.record(raised)
    told = list(looks(another, (MORNING + timedelta(days=3), "0")))
    assert [(event.alert_id, event.state) for event in told] == [(raised.alert_id, "resolved")]


def test_a_budget_that_was_taken_away_has_no_alerts() -> None:
    """What stood is over, once that has been seen twice."""
    book = AlertStates()
    list(looks(book, (MORNING, "9")))
    told = []
    for minutes in (30, 60):
        now = MORNING + timedelta(minutes=minutes)
        told.append(book.judge([], AlertWindow(begin_of_day(now), now), rules=BUDGET_RULES, at=now))
    assert told[0] == []
    assert {(event.rule, event.state) for event in told[1]} == {(rule, "resolved") for rule in BUDGET_RULES}


@pytest.mark.integration
async def test_the_days_spend_is_exact(clickhouse: ClickHouse) -> None:
    """Each request once, by the day of its acceptance (UTC); who has no budget counts for all."""
    midnight = begin_of_day(NOON)
    microsecond = timedelta(microseconds=1)
    dear = Decimal("1.500000001")
    logs = [
        make_log("before", accepted_at=midnight - microsecond, cost_usd=Decimal(50)),
        make_log("first", accepted_at=midnight, cost_usd=dear),
        make_log("last", accepted_at=midnight + timedelta(days=1) - microsecond, cost_usd=dear),
        make_log("after", accepted_at=midnight + timedelta(days=1), cost_usd=Decimal(50)),
        make_log("other", accepted_at=NOON, tenant="globex", cost_usd=Decimal(4)),
    ]
    await store(clickhouse, logs)
    await store(clickhouse, logs)
    budgets = {"*": Decimal(7), "acme": Decimal(3), "nobody": Decimal(1)}
    verdicts = await budget_verdicts(budgets, clickhouse, NOON, ())
    found = {(each.series.tenant, each.series.rule): each for each in verdicts}
    assert found["acme", EXCEEDED].observed == 3.000000002
    assert found["", EXCEEDED].observed == 7.000000002
    assert found["nobody", EXCEEDED].observed == 0
    over = {key for key, each in found.items() if each.finding is MeasureState.ANOMALOUS}
    assert over == {("acme", NEARLY), ("acme", EXCEEDED), ("", NEARLY), ("", EXCEEDED)}
    assert await budget_verdicts({}, clickhouse, NOON, ()) == []

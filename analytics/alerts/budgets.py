"""Alerts on daily budgets: at 80 % of one, and when it is exceeded; once a day each."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from analytics.alerts.verdicts import EVERYBODY, AlertSeries, MeasureState, SeriesVerdict, instant
from analytics.budgets import ALL_TENANTS, Budget, BudgetStanding, begin_of_day, budget_standings, end_of_day
from analytics.clickhouse import ClickHouse
from streams.events import AlertRaised

NEARLY, EXCEEDED = "budget_80", "budget_exceeded"
RULES = (NEARLY, EXCEEDED)

_NEARLY = Decimal("0.8")
#: By the view, which counts each request once: a rollup may be some seconds older.
_SPENT = """
SELECT r.tenant AS tenant, sum(r.cost_usd) AS spent_usd
FROM requests AS r
WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')} AND r.accepted_at < {until:DateTime64(6, 'UTC')}
GROUP BY tenant
"""


class BudgetMonitor:
    """Reads how much of the day's budgets is spent."""

    def __init__(self, budgets: Sequence[Budget], clickhouse: ClickHouse) -> None:
        self._budgets = budgets
        self._clickhouse = clickhouse

    async def verdicts(self, now: datetime, standing: Iterable[AlertRaised]) -> list[SeriesVerdict]:
        """Return the verdicts on the budgets, given the alerts that stand.

        Raises:
            ClickHouseUnavailable: no answer in time.
        """
        if not self._budgets:
            return []
        since = begin_of_day(now)
        rows = await self._clickhouse.query(
            _SPENT, {"since": instant(since), "until": instant(end_of_day(now))}
        )
        spent = {str(row["tenant"]): Decimal(row["spent_usd"]) for row in rows}
        return judge_budgets(budget_standings(self._budgets, spent, day=since.date()), standing)


def judge_budgets(budgets: Sequence[BudgetStanding], standing: Iterable[AlertRaised]) -> list[SeriesVerdict]:
    """Return the verdicts on budgets. Pure.

    An alert stands until its day is over, whatever becomes of the budget: so there is one a day at most.
    """
    of_former_days = {
        (event.rule, event.tenant)
        for event in standing
        if event.rule in RULES and budgets and event.window_since.date() < budgets[0].day
    }
    return [
        _verdict(budget, rule, over=(rule, _tenant(budget)) in of_former_days)
        for budget in budgets
        for rule in RULES
    ]


def _verdict(budget: BudgetStanding, rule: str, *, over: bool) -> SeriesVerdict:
    limit = budget.daily_usd * _NEARLY if rule == NEARLY else budget.daily_usd
    reached = budget.spent_usd >= limit if rule == NEARLY else budget.spent_usd > limit
    finding = MeasureState.ANOMALOUS if reached else MeasureState.UNCLEAR
    return SeriesVerdict(
        series=AlertSeries(rule, "above", _tenant(budget)),
        finding=MeasureState.CALM if over else finding,
        observed=float(budget.spent_usd),
        expected=float(limit),
        unit="usd",
        method="a fixed limit",
        severe=rule == EXCEEDED,
        confirm=1,
        sentence=_sentence(budget, over=over),
    )


def _tenant(budget: BudgetStanding) -> str:
    return EVERYBODY if budget.tenant == ALL_TENANTS else budget.tenant


def _sentence(budget: BudgetStanding, *, over: bool) -> str:
    who = "All tenants together have" if budget.tenant == ALL_TENANTS else f"Tenant {budget.tenant} has"
    when = f" on the new day, {budget.day}" if over else f" on {budget.day}"
    return (
        f"{who} spent {_usd(budget.spent_usd)} USD{when}: {budget.share:.1%} of the daily budget of "
        f"{_usd(budget.daily_usd)} USD"
    )


def _usd(amount: Decimal) -> str:
    """Return an amount in cents; below a dollar, in which budgets of trials are, in micro-dollars."""
    return f"{amount:.2f}" if amount >= 1 or not amount else f"{amount:.6f}"

"""Alerts on fixed limits: daily budgets (at 80 %, and beyond all; once a day each), and the sinks' lag.

Budgets are reported, not enforced: no request is refused for one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import msgspec

from analytics.alerts.alert_states import AlertSeries, MeasureState, SeriesVerdict
from analytics.alerts.windows import EVERYBODY
from analytics.clickhouse import ClickHouse, instant
from streams.events import AlertRaised

#: The name of the budget of all tenants together. No tenant can have it (`streams.settings`).
ALL_TENANTS = "*"

_SHARE_STEP = Decimal("0.000001")

NEARLY, EXCEEDED = "budget_80", "budget_exceeded"
BUDGET_RULES = (NEARLY, EXCEEDED)
FRESHNESS_RULES = ("sink_stale", "sink_lag")

_NEARLY = Decimal("0.8")
_SEVERE = 4  # times the limit of freshness
_CALM = 0.5  # of that limit, so that a value that moves about it is one alert and not many
#: By the view, which counts each request once: a rollup may be some seconds older.
_SPENT = """
SELECT r.tenant AS tenant, sum(r.cost_usd) AS spent_usd
FROM requests AS r
WHERE r.accepted_at >= {since:DateTime64(6, 'UTC')} AND r.accepted_at < {until:DateTime64(6, 'UTC')}
GROUP BY tenant
"""


class BudgetStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and what was spent of it on a day."""

    tenant: str
    daily_usd: Decimal
    spent_usd: Decimal
    day: date

    @property
    def share(self) -> Decimal:
        """Spent of the whole, above 1 where it is exceeded; to six decimals."""
        return (self.spent_usd / self.daily_usd).quantize(_SHARE_STEP)


def begin_of_day(now: datetime) -> datetime:
    """Return the last midnight (UTC)."""
    return datetime.combine(now.astimezone(UTC).date(), time(), UTC)


def end_of_day(now: datetime) -> datetime:
    """Return the next midnight (UTC)."""
    return begin_of_day(now) + timedelta(days=1)


def budget_standings(
    daily_usd: Mapping[str, Decimal], spent_usd: Mapping[str, Decimal], *, day: date
) -> list[BudgetStanding]:
    """Return each budget, by tenant, with what was spent of it on `day`. Pure.

    `daily_usd` is `HEADRACE_DAILY_BUDGETS`; its key `ALL_TENANTS` is all tenants together. A tenant that is
    missing in `spent_usd` has spent nothing.
    """
    by_tenant = {ALL_TENANTS: sum(spent_usd.values(), Decimal(0)), **spent_usd}
    return [
        BudgetStanding(tenant=tenant, daily_usd=usd, spent_usd=by_tenant.get(tenant, Decimal(0)), day=day)
        for tenant, usd in sorted(daily_usd.items())
    ]


def judge_freshness(age_s: tuple[float, float], lag: tuple[int, int]) -> list[SeriesVerdict]:
    """Return the verdicts on the oldest record that is not stored, and on how many there are. Pure.

    Each is a pair: the figure, and its limit.
    """
    return [_freshness("sink_stale", *age_s, "s"), _freshness("sink_lag", *lag, "records")]


async def budget_verdicts(
    daily_usd: Mapping[str, Decimal], clickhouse: ClickHouse, now: datetime, standing: Iterable[AlertRaised]
) -> list[SeriesVerdict]:
    """Return the verdicts on the day's budgets, given the alerts that stand."""
    if not daily_usd:
        return []
    since = begin_of_day(now)
    rows = await clickhouse.query(_SPENT, {"since": instant(since), "until": instant(end_of_day(now))})
    spent = {str(row["tenant"]): Decimal(row["spent_usd"]) for row in rows}
    return judge_budgets(budget_standings(daily_usd, spent, day=since.date()), standing)


def judge_budgets(budgets: Sequence[BudgetStanding], standing: Iterable[AlertRaised]) -> list[SeriesVerdict]:
    """Return the verdicts on budgets. Pure.

    An alert stands until its day is over, whatever becomes of the budget: so there is one a day at most.
    """
    of_former_days = {
        (event.rule, event.tenant)
        for event in standing
        if event.rule in BUDGET_RULES and budgets and event.window_since.date() < budgets[0].day
    }
    return [
        _verdict(budget, rule, over=(rule, _tenant(budget)) in of_former_days)
        for budget in budgets
        for rule in BUDGET_RULES
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


def _freshness(rule: str, observed: float, limit: float, unit: str) -> SeriesVerdict:
    if observed >= limit:
        finding = MeasureState.ANOMALOUS
    else:
        finding = MeasureState.CALM if observed <= limit * _CALM else MeasureState.UNCLEAR
    return SeriesVerdict(
        series=AlertSeries(rule, "above", EVERYBODY),
        finding=finding,
        observed=float(observed),
        expected=float(limit),
        unit=unit,
        method="a fixed limit",
        severe=observed >= _SEVERE * limit,
        confirm=1,  # the limit is a time already
    )

"""What tenants may spend in a day, and how much of it is spent.

Budgets are told here, not enforced: no request is refused for one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Protocol

import msgspec

#: The name of the budget of all tenants together. No tenant can have it (`streams.settings`).
ALL_TENANTS = "*"

_SHARE_STEP = Decimal("0.000001")


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant, or all of them together, may spend in a day (UTC)."""

    tenant: str
    daily_usd: Decimal


class Budgets(Protocol):
    """Where budgets come from."""

    async def current(self) -> Sequence[Budget]:
        """Return the budgets as they are now; of each tenant one at most."""
        ...


class ConfiguredBudgets:
    """The budgets of `HEADRACE_DAILY_BUDGETS`: the same from the start of the process to its end.

    Args:
        daily_usd: by tenant; `ALL_TENANTS` is all of them together.
    """

    def __init__(self, daily_usd: Mapping[str, Decimal]) -> None:
        self._budgets = [Budget(tenant=name, daily_usd=usd) for name, usd in sorted(daily_usd.items())]

    async def current(self) -> Sequence[Budget]:
        """Return them."""
        return self._budgets


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
    budgets: Iterable[Budget], spent_usd: Mapping[str, Decimal], *, day: date
) -> list[BudgetStanding]:
    """Return where budgets stand. Pure.

    Args:
        budgets: the budgets.
        spent_usd: what every tenant has spent on the day; who is missing has spent nothing.
        day: the day.
    """
    everybodys = sum(spent_usd.values(), Decimal(0))
    return [
        BudgetStanding(
            tenant=budget.tenant,
            daily_usd=budget.daily_usd,
            spent_usd=everybodys
            if budget.tenant == ALL_TENANTS
            else spent_usd.get(budget.tenant, Decimal(0)),
            day=day,
        )
        for budget in budgets
    ]

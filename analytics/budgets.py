"""What tenants may spend in a day, and how much of it is spent.

Budgets are reported here, not enforced: no request is refused for one.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import msgspec

#: The name of the budget of all tenants together. No tenant can have it (`streams.settings`).
ALL_TENANTS = "*"

_SHARE_STEP = Decimal("0.000001")


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

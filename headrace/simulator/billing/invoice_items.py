"""The billed calls, one by one and added up."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Self

import msgspec

from headrace.simulator.billing.charges import BilledUsage
from streams.models import ProviderName

_NANO_DIGITS = 9


class BilledAs(StrEnum):
    """How a billed call ended."""

    COMPLETED = "completed"
    DROPPED = "dropped"
    CANCELLED = "cancelled"


class InvoiceItem(BilledUsage, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=False):
    """One billed call; `usd` has nine decimals."""

    call_id: str
    provider: ProviderName
    model: str
    at: datetime
    usd: str
    status: BilledAs
    stream: bool
    client_request_id: str | None = None

    @property
    def nano_usd(self) -> int:
        """The charge in nano-dollars."""
        return int(Decimal(self.usd).scaleb(_NANO_DIGITS))


class InvoiceTotals(msgspec.Struct, frozen=True, kw_only=True):
    """A number of calls and what they cost, in nano-dollars."""

    calls: int = 0
    nano_usd: int = 0

    def plus(self, item: InvoiceItem) -> Self:
        """Return the totals with one more item."""
        return type(self)(calls=self.calls + 1, nano_usd=self.nano_usd + item.nano_usd)

    @property
    def usd(self) -> str:
        """The sum in dollars, with nine decimals."""
        return f"{Decimal(self.nano_usd).scaleb(-_NANO_DIGITS):.9f}"

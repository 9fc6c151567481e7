"""The invoice: every call that was billed, with totals that stay exact when old items are forgotten."""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from streams.models import STANDARD_TIER, ProviderName

RETAINED_ITEMS = 200_000
_NANO_DIGITS = 9


class BilledAs(StrEnum):
    """How a billed call ended."""

    COMPLETED = "completed"
    DROPPED = "dropped"
    CANCELLED = "cancelled"


class InvoiceItem(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One billed call; `usd` has nine decimals.

    `input_tokens` includes `cached_tokens` and `cache_write_tokens`, and those the ones written for an hour;
    `output_tokens` includes `reasoning_tokens`.
    """

    call_id: str
    provider: ProviderName
    model: str
    request_model: str
    at: datetime
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    usd: str
    status: BilledAs
    stream: bool
    client_request_id: str | None = None
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    service_tier: str = STANDARD_TIER


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """A number of calls and what they cost, in nano-dollars."""

    calls: int = 0
    nano_usd: int = 0

    def plus(self, item: InvoiceItem) -> "Totals":
        """Return the totals with one more item."""
        return Totals(calls=self.calls + 1, nano_usd=self.nano_usd + nano_usd(item.usd))


class InvoiceLog(Protocol):
    """Where items are kept beyond the process."""

    def append(self, item: InvoiceItem) -> None:
        """Keep one more item."""

    def clear(self) -> None:
        """Forget all items."""


class NoLog:
    """Keeps nothing: the invoice ends with the process."""

    def append(self, item: InvoiceItem) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


def nano_usd(usd: str) -> int:
    """Return an amount of dollars in nano-dollars."""
    return int(Decimal(usd).scaleb(_NANO_DIGITS))


def usd_text(nano: int) -> str:
    """Return nano-dollars as dollars with nine decimals."""
    return f"{Decimal(nano).scaleb(-_NANO_DIGITS):.9f}"


class Invoice:
    """The items billed and their totals. Totals count every item, also those no longer listed."""

    def __init__(
        self,
        *,
        log: InvoiceLog,
        now: Callable[[], datetime],
        carried: Totals | None = None,
        items: Iterable[InvoiceItem] = (),
        retained: int = RETAINED_ITEMS,
    ) -> None:
        self._log = log
        self._now = now
        self._items: deque[InvoiceItem] = deque()
        self._retained = retained
        self._totals = carried or Totals()
        self._forgotten = carried or Totals()
        for item in items:
            self._enter(item)

    def bill(
        self,
        *,
        call_id: str,
        provider: ProviderName,
        model: str,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int,
        usd: Decimal,
        status: BilledAs,
        stream: bool,
        client_request_id: str | None,
        cache_write_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
        reasoning_tokens: int = 0,
        service_tier: str = STANDARD_TIER,
    ) -> None:
        """Book one call, first in the log."""
        item = InvoiceItem(
            call_id=call_id,
            provider=provider,
            model=model,
            request_model=model,
            at=self._now(),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_tokens=cached_tokens,
            usd=f"{usd:.9f}",
            status=status,
            stream=stream,
            client_request_id=client_request_id,
            cache_write_tokens=cache_write_tokens,
            cache_write_1h_tokens=cache_write_1h_tokens,
            reasoning_tokens=reasoning_tokens,
            service_tier=service_tier,
        )
        self._log.append(item)
        self._enter(item)

    def _enter(self, item: InvoiceItem) -> None:
        self._items.append(item)
        self._totals = self._totals.plus(item)
        if len(self._items) > self._retained:
            self._forgotten = self._forgotten.plus(self._items.popleft())

    def clear(self) -> None:
        """Start again from nothing."""
        self._log.clear()
        self._items.clear()
        self._totals = self._forgotten = Totals()

    def report(self, *, since: datetime | None = None, list_items: bool = True) -> dict[str, Any]:
        """Return the invoice as `GET /invoice` sends it.

        With `since`, calls and total are those of the items at or after it; `complete` is false where
        forgotten items may belong to the period, and then the figures are too low.
        """
        items = list(self._items) if since is None else [item for item in self._items if item.at >= since]
        totals, forgotten = self._totals, self._forgotten
        if since is not None:
            totals = Totals(calls=len(items), nano_usd=sum(nano_usd(item.usd) for item in items))
            forgotten = Totals()
        report: dict[str, Any] = {
            "calls": totals.calls,
            "total_usd": usd_text(totals.nano_usd),
            "complete": since is None or self._knows(since),
            "unlisted": {"calls": forgotten.calls, "usd": usd_text(forgotten.nano_usd)},
        }
        return report | {"items": items} if list_items else report

    def _knows(self, since: datetime) -> bool:
        return self._forgotten.calls == 0 or (bool(self._items) and since > self._items[0].at)


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)

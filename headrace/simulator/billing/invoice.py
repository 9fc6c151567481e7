"""The invoice: every call that was billed. Its totals stay exact when old items are forgotten."""

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from functools import reduce
from typing import Any

from headrace.simulator.billing.invoice_file import RETAINED_ITEMS, InvoiceFile
from headrace.simulator.billing.invoice_items import InvoiceItem, InvoiceTotals


class Invoice:
    """The billed calls and their totals.

    Without a file nothing is kept beyond the process. `carried` is what items add up to that are no longer
    listed; at most `retained` are.
    """

    def __init__(
        self,
        file: InvoiceFile | None = None,
        *,
        carried: InvoiceTotals | None = None,
        items: Iterable[InvoiceItem] = (),
        retained: int = RETAINED_ITEMS,
    ) -> None:
        self._file = file
        self._items: deque[InvoiceItem] = deque(maxlen=retained)
        self._totals = carried or InvoiceTotals()
        for item in items:
            self._enter(item)

    def add(self, item: InvoiceItem) -> None:
        """Bill one call, first in the file."""
        if self._file is not None:
            self._file.append(item)
        self._enter(item)

    def _enter(self, item: InvoiceItem) -> None:
        self._items.append(item)
        self._totals = self._totals.plus(item)

    def clear(self) -> None:
        """Start again from nothing."""
        if self._file is not None:
            self._file.clear()
        self._items.clear()
        self._totals = InvoiceTotals()

    def report(self, *, since: datetime | None = None, list_items: bool = True) -> dict[str, Any]:
        """Return the invoice as `GET /invoice` sends it.

        With `since`, calls and total are those of the items at or after it; `complete` is false where
        forgotten items may belong to the period, and then the figures are too low.
        """
        items, totals, complete = list(self._items), self._totals, True
        if since is not None:
            has_all = self._totals.calls == len(items)
            complete = has_all or (bool(items) and since > items[0].at)
            items = [item for item in items if item.at >= since]
            totals = reduce(InvoiceTotals.plus, items, InvoiceTotals())
        report: dict[str, Any] = {"calls": totals.calls, "total_usd": totals.usd, "complete": complete}
        return report | {"items": items} if list_items else report

"""Calls against costs and the provider's invoice: every billed call is booked, once, with its amount."""

from collections import defaultdict

import msgspec

from headrace.ops.audit.balance.call_judgement import judge
from headrace.ops.audit.balance.money import Money
from headrace.ops.audit.balance.replies import Decided, undecided
from headrace.ops.audit.evidence.records import Books, Call, InvoiceBooks, Item
from headrace.ops.audit.findings import Code, Tally


class Pair(msgspec.Struct, kw_only=True):
    """Calls of one kind: how many, what the books say, what the invoice says.

    `over_nano` and `under_nano`: by how much single calls are booked above, and below, what was billed.
    `not_invoiced`: how many are booked with an amount, and not billed.
    """

    calls: int = 0
    booked_nano: int = 0
    invoiced_nano: int = 0
    over_nano: int = 0
    under_nano: int = 0
    not_invoiced: int = 0

    def add(self, call: Call, item: Item | None) -> None:
        """Add a call."""
        billed_nano = item.cost_nano if item else 0
        self.calls += 1
        self.booked_nano += call.cost_nano
        self.invoiced_nano += billed_nano
        self.over_nano += max(call.cost_nano - billed_nano, 0)
        self.under_nano += max(billed_nano - call.cost_nano, 0)
        self.not_invoiced += item is None and call.cost_nano > 0


class Calls(msgspec.Struct, kw_only=True):
    """The calls of the window's requests.

    Attributes:
        exact: answered, with a usage that the provider has reported: booked = invoiced.
        estimated: failed, stopped while they were answered, or with a usage that cannot be believed: booked
            as far as it is known.
        orphaned: the answer was lost with its worker: what is booked is an estimate.
        unbooked: billed, and in no book. Those of requests that are under way are in `under_way`.
    """

    exact: Pair = msgspec.field(default_factory=Pair)
    estimated: Pair = msgspec.field(default_factory=Pair)
    orphaned: Pair = msgspec.field(default_factory=Pair)
    unbooked: Pair = msgspec.field(default_factory=Pair)
    under_way: int = 0

    @property
    def guessed(self) -> tuple[Pair, Pair]:
        """The kinds that are booked as estimates."""
        return self.estimated, self.orphaned

    @property
    def invoiced_nano(self) -> int:
        """What was billed for the window's requests."""
        return sum(each.invoiced_nano for each in (self.exact, self.estimated, self.orphaned, self.unbooked))


def count_calls(books: Books, decided: Decided, money: Money, tally: Tally) -> Calls:
    """Compare the calls with their requests' costs, and with the invoice where there is one."""
    calls, invoice = Calls(), books.invoice
    for call_id, call in books.clickhouse.calls.items():
        if call.request_id in decided.terminals:
            item = invoice.items.get(call_id) if invoice is not None else None
            _kind(calls, call).add(call, item)
            wrong = judge(call, item, complete=invoice.complete) if invoice is not None else None
            if wrong is not None:
                tally.add(wrong, call_id)
    tally.add_all(Code.CALL_DOUBLED, books.clickhouse.doubled)
    _check_costs(books, money, tally)
    if invoice is not None:
        _check_unbooked(books, calls, invoice, tally)
    return calls


def unbooked(books: Books) -> list[str]:
    """Return the billed calls of the window that are not among the calls read so far."""
    if books.invoice is None:
        return []
    return [
        call_id
        for call_id, item in books.invoice.items.items()
        if call_id not in books.clickhouse.calls and books.window.holds(item.at_ms)
    ]


def _kind(calls: Calls, call: Call) -> Pair:
    if call.orphaned:
        return calls.orphaned
    return calls.estimated if call.error is not None or call.estimated else calls.exact


def _check_costs(books: Books, money: Money, tally: Tally) -> None:
    """Note requests whose calls in ClickHouse do not add up to their cost."""
    costs: dict[str, int] = defaultdict(int)
    numbers: dict[str, int] = defaultdict(int)
    for call in books.clickhouse.calls.values():
        numbers[call.request_id] += 1
        costs[call.request_id] += 0 if call.shadow else call.cost_nano
    for request_id in money.whole:
        row, log = books.clickhouse.rows[request_id], books.kafka.logs[request_id]
        if costs[request_id] != row.cost_nano or numbers[request_id] != len(log.call_ids):
            tally.add(Code.CALLS_DIFFER, request_id)


def _check_unbooked(books: Books, calls: Calls, invoice: InvoiceBooks, tally: Tally) -> None:
    """Note billed calls that no book knows, but for those of requests that are still under way.

    Which request a call belongs to is written on no invoice. What the journals and the log records know is
    under way; so is what was billed after the oldest undecided request came.
    """
    pending = undecided(books.kafka, since_ms=books.window.since_ms)
    pending_ms = min((books.kafka.requests[each].first.at_ms for each in pending), default=None)
    logged = {call_id for log in books.kafka.logs.values() for call_id in log.call_ids}
    for call_id in unbooked(books):
        item = invoice.items[call_id]
        late = pending_ms is not None and item.at_ms >= pending_ms
        if late or call_id in logged or call_id in books.registry.open_calls:
            calls.under_way += 1
            tally.add(Code.WAITING, call_id)
            continue
        calls.unbooked.calls += 1
        calls.unbooked.invoiced_nano += item.cost_nano
        tally.add(Code.UNBOOKED, call_id)

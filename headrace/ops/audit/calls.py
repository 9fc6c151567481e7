"""Calls against costs and the provider's invoice: every billed call is booked, once, with its amount.

What is booked as known has to be what was billed, to the nano-dollar. What is booked as an estimate may
differ as far as an estimate can: our count of the prompt from the provider's, and an answer that was cut off
from what the provider went on to write. A larger difference is a finding.
"""

from collections import Counter, defaultdict

import msgspec
from msgspec import field

from headrace.ops.audit.evidence import BilledCall, CallRow, Evidence, InvoiceEvidence
from headrace.ops.audit.findings import FindingKind, FindingTally
from headrace.ops.audit.replies import RequestTotals, undecided

#: How far two tokenisers may differ on one text: by a factor, and on short ones by some tokens.
_TIMES = 2
_SLACK_TOKENS = 64
#: The finish reason of an answer that the output check has stopped.
_STOPPED = "content_filter"


def check_call(call: CallRow, item: BilledCall | None, *, complete: bool) -> FindingKind | None:
    """Return what is wrong with a booked call; None where the invoice confirms or explains it.

    `complete`: whether the invoice has everything of the time.
    """
    is_estimate = call.estimated or call.orphaned
    if item is None:
        # An estimate without an answer may be of a call that the provider never began.
        has_to_be_billed = call.error is None or (call.cost_nano > 0 and not is_estimate)
        return FindingKind.CALLS_NOT_INVOICED if complete and has_to_be_billed else None
    if item.times > 1:
        return FindingKind.CALLS_BILLED_TWICE
    if item.cost_nano == call.cost_nano:
        return None
    if not is_estimate:
        return FindingKind.CALLS_MISPRICED
    return None if _is_explained(call, item) else FindingKind.CALLS_MISESTIMATED


def _is_explained(call: CallRow, item: BilledCall) -> bool:
    """Whether the prompt is there, and no more output than there can have been.

    The output of an answer that was cut off may be less, by whatever was written after the break.
    """
    was_cut_off = call.error is not None or call.finish_reason == _STOPPED
    return (
        call.input_tokens <= _TIMES * item.input_tokens + _SLACK_TOKENS
        and item.input_tokens <= _TIMES * call.input_tokens + _SLACK_TOKENS
        and call.output_tokens <= _TIMES * item.output_tokens + _SLACK_TOKENS
        and (was_cut_off or item.output_tokens <= _TIMES * call.output_tokens + _SLACK_TOKENS)
        # No cost where there was something to pay is an error, not an estimate.
        and (call.cost_nano > 0 or item.cost_nano == 0)
    )


class CallSums(msgspec.Struct, kw_only=True):
    """Calls of one kind: how many, what is booked for them, what was billed.

    `over_nano` and `under_nano`: by how much single calls are booked above, and below, what was billed.
    `not_invoiced`: how many are booked with an amount, and not billed.
    """

    calls: int = 0
    booked_nano: int = 0
    invoiced_nano: int = 0
    over_nano: int = 0
    under_nano: int = 0
    not_invoiced: int = 0

    def add(self, call: CallRow, item: BilledCall | None) -> None:
        """Add a call."""
        billed_nano = item.cost_nano if item else 0
        self.calls += 1
        self.booked_nano += call.cost_nano
        self.invoiced_nano += billed_nano
        self.over_nano += max(call.cost_nano - billed_nano, 0)
        self.under_nano += max(billed_nano - call.cost_nano, 0)
        self.not_invoiced += item is None and call.cost_nano > 0


class CallTotals(msgspec.Struct, kw_only=True):
    """The calls of the window's requests.

    Attributes:
        exact: answered, with a usage that the provider has reported: booked = invoiced.
        estimated: failed, stopped while they were answered, or with an implausible usage: booked as far as it
            is known.
        orphaned: the answer was lost with its worker: what is booked is an estimate.
        unbooked: billed, and booked nowhere, though their requests are decided.
    """

    exact: CallSums = field(default_factory=CallSums)
    estimated: CallSums = field(default_factory=CallSums)
    orphaned: CallSums = field(default_factory=CallSums)
    unbooked: CallSums = field(default_factory=CallSums)

    @property
    def estimates(self) -> tuple[CallSums, CallSums]:
        """The kinds that are booked as estimates."""
        return self.estimated, self.orphaned

    @property
    def booked(self) -> tuple[CallSums, ...]:
        """The kinds that are booked."""
        return self.exact, self.estimated, self.orphaned

    @property
    def invoiced_nano(self) -> int:
        """What was billed for the window's requests."""
        return sum(each.invoiced_nano for each in (*self.booked, self.unbooked))

    def kind_of(self, call: CallRow) -> CallSums:
        """Return the kind that a call is of."""
        if call.orphaned:
            return self.orphaned
        return self.estimated if call.error is not None or call.estimated else self.exact


def compare_calls(evidence: Evidence, totals: RequestTotals, tally: FindingTally) -> CallTotals:
    """Compare the calls with their requests' costs, and with the invoice where there is one."""
    calls, invoice = CallTotals(), evidence.invoice
    for call_id, call in evidence.clickhouse.calls.items():
        if call.request_id in totals.terminals:
            item = invoice.items.get(call_id) if invoice is not None else None
            calls.kind_of(call).add(call, item)
            wrong = check_call(call, item, complete=invoice.complete) if invoice is not None else None
            if wrong is not None:
                tally.add(wrong, call_id)
    for call_id in evidence.clickhouse.doubled:
        tally.add(FindingKind.CALLS_BOOKED_TWICE, call_id)
    _check_costs(evidence, totals, tally)
    if invoice is not None:
        _check_unbooked(evidence, calls, invoice, tally)
    return calls


def unbooked(evidence: Evidence) -> list[str]:
    """Return the billed calls of the window that are not among the calls read so far."""
    if evidence.invoice is None:
        return []
    return [
        call_id
        for call_id, item in evidence.invoice.items.items()
        if call_id not in evidence.clickhouse.calls and evidence.window.contains(item.at_ms)
    ]


def _check_costs(evidence: Evidence, totals: RequestTotals, tally: FindingTally) -> None:
    """Note requests whose calls in ClickHouse do not add up to their cost."""
    costs: dict[str, int] = defaultdict(int)
    numbers: Counter[str] = Counter()
    for call in evidence.clickhouse.calls.values():
        numbers[call.request_id] += 1
        costs[call.request_id] += 0 if call.shadow else call.cost_nano
    for request_id in totals.whole:
        row, log = evidence.clickhouse.rows[request_id], evidence.kafka.logs[request_id]
        if costs[request_id] != row.cost_nano or numbers[request_id] != len(log.call_ids):
            tally.add(FindingKind.CALLS_DIFFER_FROM_COST, request_id)


def _check_unbooked(
    evidence: Evidence, calls: CallTotals, invoice: InvoiceEvidence, tally: FindingTally
) -> None:
    """Note billed calls that are booked nowhere, but for those of requests that are still under way.

    Which request a call belongs to is written on no invoice. What the journals and the log records know is
    under way; so is what was billed after the oldest undecided request came.
    """
    kafka = evidence.kafka
    pending = undecided(kafka, since_ms=evidence.window.since_ms)
    pending_ms = min((kafka.requests[each].first.at_ms for each in pending), default=None)
    under_way = {call_id for log in kafka.logs.values() for call_id in log.call_ids}
    under_way |= evidence.redis.open_calls
    for call_id in unbooked(evidence):
        item = invoice.items[call_id]
        if call_id in under_way or (pending_ms is not None and item.at_ms >= pending_ms):
            tally.add(FindingKind.WAITING, call_id)
            continue
        calls.unbooked.calls += 1
        calls.unbooked.invoiced_nano += item.cost_nano
        tally.add(FindingKind.UNBOOKED_CALLS, call_id)

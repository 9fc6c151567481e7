"""Amounts: replies, ledger, log records, rows and calls agree, and every billed call is booked once.

What is booked as known has to be what was billed, to the nano-dollar. What is booked as an estimate may
differ as far as an estimate can: our count of the prompt from the provider's, and an answer that was cut off
from what the provider went on to write. A larger difference is a finding.
"""

from collections import Counter, defaultdict

import msgspec
from msgspec import field

from headrace.ops.audit.evidence import (
    BilledCall,
    CallRow,
    Evidence,
    InvoiceEvidence,
    LedgerCharge,
    RequestRow,
    TerminalReply,
)
from headrace.ops.audit.findings import FindingKind, FindingTally
from headrace.ops.audit.replies import RequestTotals, WorkInProgress, undecided
from streams.pipeline import ENTRANCES, FEEDBACK, PIPELINE
from streams.topics import LOGS

_ENTRANCES = frozenset(topic.name for topic in ENTRANCES)
#: Names of the consumers that write or read log records: the cost stage and the sink.
_LOG_CONSUMERS = frozenset(spec.name for spec in PIPELINE if LOGS in (spec.source, *spec.writes))


def compare_money(
    evidence: Evidence, totals: RequestTotals, progress: WorkInProgress, tally: FindingTally
) -> None:
    """Compare every decided request's reply, charge, log record and row, and note what differs."""
    dead_lettered = {
        letter.request_id
        for letter in evidence.kafka.dead_letters.values()
        if letter.request_id is not None and letter.stage in _LOG_CONSUMERS
    }
    for request_id, terminal in totals.terminals.items():
        charges = evidence.kafka.charges.get(request_id, [])
        charged_nano = _check_charges(totals, tally, request_id, charges)
        totals.ledger_nano += charged_nano
        if terminal.accepted_at_ms is None:
            continue  # it failed in the cost stage, or could not be decoded: it has no log record
        row, log = evidence.clickhouse.rows.get(request_id), evidence.kafka.logs.get(request_id)
        if row is not None:
            totals.rows += 1
            totals.clickhouse_nano += row.cost_nano
        settled = progress.has_settled(terminal.at_ms)
        if log is None and not settled:
            totals.rows_waiting += 1
            tally.add(FindingKind.WAITING, request_id)
            continue
        if log is None:
            tally.add(FindingKind.UNLOGGED, request_id)
        if charged_nano != terminal.cost_nano:
            tally.add(FindingKind.LEDGER_DIFFERS_FROM_REPLY if settled else FindingKind.WAITING, request_id)
        if log is not None and not progress.has_row(log):
            totals.rows_waiting += 1
            tally.add(FindingKind.WAITING, request_id)
            continue
        totals.compared_ledger_nano += charged_nano
        if row is None:
            tally.add(
                FindingKind.ROWS_DEAD_LETTERED if request_id in dead_lettered else FindingKind.ROWS_MISSING,
                request_id,
            )
            continue
        totals.compared_clickhouse_nano += row.cost_nano
        _check_row(tally, request_id, terminal, row, charged_nano)
        if log is not None:
            totals.whole.add(request_id)


def check_unknown_ids(evidence: Evidence, tally: FindingTally) -> None:
    """Note requests that are in the evidence and were never accepted."""
    kafka, rows = evidence.kafka, evidence.clickhouse.rows
    truncated = (read.truncated_ms or 0 for read in kafka.topics.values() if read.topic in _ENTRANCES)
    truncated_ms = max(truncated, default=0)  # requests from before then may have been deleted
    known = kafka.requests.keys() | {each.request_id for each in kafka.malformed.values()}
    # But feedback, which anybody may give on any id.
    known |= {each.request_id for each in kafka.dead_letters.values() if each.stage != FEEDBACK.name}
    for request_id in unknown_ids(evidence):
        if request_id in known:
            continue
        times = [each.accepted_at_ms for each in kafka.terminals.get(request_id, ())]
        log, row = kafka.logs.get(request_id), rows.get(request_id)
        times += [each.accepted_at_ms for each in (log, row) if each is not None]
        accepted = [each for each in times if each is not None]
        # One that nothing dates counts, too: a forged entry in the ledger has no time of acceptance.
        if not accepted or any(
            truncated_ms <= each < evidence.taken_at_ms and evidence.window.contains(each)
            for each in accepted
        ):
            tally.add(FindingKind.STRANGERS, request_id)


def unknown_ids(evidence: Evidence) -> set[str]:
    """Return the request ids that no record on a topic for requests has, as far as it was read."""
    kafka = evidence.kafka
    ids = kafka.terminals.keys() | kafka.logs.keys() | kafka.charges.keys() | evidence.clickhouse.rows.keys()
    return ids - kafka.requests.keys()


def _check_charges(
    totals: RequestTotals, tally: FindingTally, request_id: str, charges: list[LedgerCharge]
) -> int:
    """Note double charges; return what the ledger says that the request costs."""
    totals.resent_charges += sum(each.times - 1 for each in charges if not each.contradictory)
    twice = sum(each.contradictory for each in charges) + max(len(charges) - 1, 0)
    if twice:
        tally.add(FindingKind.DUPLICATE_CHARGES, request_id, times=twice)
    return sum(each.amount_nano for each in charges)


def _check_row(
    tally: FindingTally, request_id: str, terminal: TerminalReply, row: RequestRow, charged_nano: int
) -> None:
    if row.rows > 1:
        tally.add(FindingKind.ROWS_EXTRA, request_id, times=row.rows - 1)
    if row.cost_nano != charged_nano:
        tally.add(FindingKind.LEDGER_DIFFERS_FROM_CLICKHOUSE, request_id)
    if row.status != terminal.status:
        tally.add(FindingKind.ROWS_DIFFER, request_id)


#: How far two tokenisers may differ on one text: by a factor, and on short ones by some tokens.
_TIMES = 2
_SLACK_TOKENS = 64
#: The finish reason of an answer that the output check has stopped.
_STOPPED = "content_filter"


def check_call(call: CallRow, item: BilledCall | None, *, complete: bool) -> FindingKind | None:
    """Return what is wrong with a booked call. `complete`: the invoice has everything of the time."""
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
    """Whether the prompt is there, and no more output than there can have been (a cut one may be shorter)."""
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
    """Calls of one kind; `over_nano`, `under_nano`: by how much single ones differ from their bill."""

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
    """The calls of the window's requests; `estimated` failed, were stopped, or have an implausible usage."""

    exact: CallSums = field(default_factory=CallSums)  # with a usage of the provider's: booked = invoiced
    estimated: CallSums = field(default_factory=CallSums)
    orphaned: CallSums = field(default_factory=CallSums)  # the answer was lost with its worker: estimates
    unbooked: CallSums = field(default_factory=CallSums)  # billed and not booked; their requests are decided

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

"""Replies against the ledger, the log records and ClickHouse: one charge, one row, one amount per request."""

from headrace.ops.audit.evidence import Evidence, LedgerCharge, RequestRow, TerminalReply
from headrace.ops.audit.findings import FindingKind, FindingTally
from headrace.ops.audit.replies import RequestTotals, WorkInProgress
from streams.pipeline import ENTRANCES, FEEDBACK, PIPELINE
from streams.topics import LOGS

_ENTRANCES = frozenset(topic.name for topic in ENTRANCES)
#: Names of the consumers that write or read log records: the cost stage and the sink.
_LOG_CONSUMERS = frozenset(spec.name for spec in PIPELINE if LOGS in (spec.source, *spec.writes))


def compare_money(
    evidence: Evidence, totals: RequestTotals, progress: WorkInProgress, tally: FindingTally
) -> None:
    """Compare every decided request's reply, charge, log record and row, and note what differs."""
    dead_lettered = _dead_lettered(evidence)
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


def _dead_lettered(evidence: Evidence) -> set[str]:
    """Return the requests whose log record the sink, or whose outcome the cost stage, could not take."""
    return {
        letter.request_id
        for letter in evidence.kafka.dead_letters.values()
        if letter.request_id is not None and letter.stage in _LOG_CONSUMERS
    }

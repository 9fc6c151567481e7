"""From evidence to report. Pure: whatever is wrong with the evidence is found here."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from headrace.ops.audit.evidence import Evidence, usd_text
from headrace.ops.audit.findings import FindingKind as Kind
from headrace.ops.audit.findings import FindingTally
from headrace.ops.audit.money import CallTotals, check_unknown_ids, compare_calls, compare_money
from headrace.ops.audit.replies import RequestTotals, WorkInProgress, decide
from headrace.ops.audit.report import AuditReport, Equation, SourceState
from streams.events import Status
from streams.pipeline import FEEDBACK, WEBHOOKS

#: Each equation, and the findings by which it does not hold, whatever the sums say.
EQUATIONS = {
    "accepted = ended + open": (Kind.MISSING, Kind.STRANGERS),
    "one terminal reply per request": (Kind.CONTRADICTORY_REPLIES, Kind.ANSWERED_TWICE),
    "submissions = submissions answered": (Kind.UNANSWERED_SUBMISSIONS,),
    "malformed = dead letters = senders told": (Kind.MALFORMED_UNBURIED, Kind.MALFORMED_UNTOLD),
    "ledger = replies, one charge per request": (Kind.DUPLICATE_CHARGES, Kind.LEDGER_DIFFERS_FROM_REPLY),
    "ledger = ClickHouse, per request": (Kind.LEDGER_DIFFERS_FROM_CLICKHOUSE, Kind.ROWS_MISSING),
    "one row per request": (Kind.ROWS_MISSING, Kind.ROWS_EXTRA, Kind.ROWS_DIFFER, Kind.UNLOGGED),
    "calls = cost, per request": (Kind.CALLS_DIFFER_FROM_COST,),
    "answered calls booked = invoiced, per call": (
        Kind.CALLS_MISPRICED,
        Kind.CALLS_NOT_INVOICED,
        Kind.CALLS_BILLED_TWICE,
    ),
    "estimated calls booked ≈ invoiced, per call within bounds": (Kind.CALLS_MISESTIMATED,),
    "every billed call is booked, once": (Kind.UNBOOKED_CALLS, Kind.CALLS_BOOKED_TWICE),
}
#: The last ones need an invoice.
_OF_INVOICE = 3


def equations(
    totals: RequestTotals, calls: CallTotals, tally: FindingTally, *, with_invoice: bool
) -> Iterator[Equation]:
    """Yield the equations, those of the invoice only where there is one."""
    count = tally.count
    replies, submissions, malformed = len(totals.terminals), totals.submissions, totals.malformed
    contradictory = count(Kind.CONTRADICTORY_REPLIES, Kind.ANSWERED_TWICE)
    not_told = max(count(Kind.MALFORMED_UNBURIED), count(Kind.MALFORMED_UNTOLD))
    replied_nano = sum(each.cost_nano for each in totals.terminals.values())
    booked_nano = sum(each.booked_nano for each in calls.booked)
    estimated_nano = sum(each.booked_nano for each in calls.estimates)
    invoiced_nano = sum(each.invoiced_nano for each in calls.estimates)
    booked = sum(each.calls for each in calls.booked)
    sides: tuple[tuple[object, object], ...] = (
        (totals.accepted, replies + len(totals.open)),
        (replies + contradictory, replies),
        (submissions, submissions - count(Kind.UNANSWERED_SUBMISSIONS)),
        (malformed, malformed - not_told),
        (usd_text(totals.ledger_nano), usd_text(replied_nano)),
        (usd_text(totals.compared_ledger_nano), usd_text(totals.compared_clickhouse_nano)),
        (replies - totals.rows_waiting, totals.rows),
        (usd_text(booked_nano), usd_text(totals.clickhouse_nano)),
        (usd_text(calls.exact.booked_nano), usd_text(calls.exact.invoiced_nano)),
        (usd_text(estimated_nano), usd_text(invoiced_nano)),
        (booked + calls.unbooked.calls, booked),
    )
    found = list(zip(EQUATIONS.items(), sides, strict=True))
    for (name, broken_by), (left, right) in found if with_invoice else found[:-_OF_INVOICE]:
        yield Equation(name=name, left=str(left), right=str(right), holds=count(*broken_by) == 0)


def balance(evidence: Evidence, *, took_s: float = 0.0) -> AuditReport:
    """Return the report on what was read."""
    tally, progress = FindingTally(), WorkInProgress(evidence)
    totals = decide(evidence, progress, tally)
    compare_money(evidence, totals, progress, tally)
    calls = compare_calls(evidence, totals, tally)
    check_unknown_ids(evidence, tally)
    _note_unread(evidence, tally)
    until_ms = evidence.taken_at_ms if evidence.window.until_ms is None else evidence.window.until_ms
    with_invoice = evidence.invoice is not None
    return AuditReport(
        verdict=tally.verdict,
        since=_time(evidence.window.since_ms),
        until=_time(until_ms),
        took_s=round(took_s, 2),
        figures=_figures(evidence, totals, calls, tally),
        equations=tuple(equations(totals, calls, tally, with_invoice=with_invoice)),
        findings=tally.findings(),
        parts=tuple(_source_states(evidence)),
        waiting=tally.count(Kind.OPEN, Kind.WAITING),
    )


def _note_unread(evidence: Evidence, tally: FindingTally) -> None:
    for read in evidence.kafka.topics.values():
        if read.gone:
            tally.add(Kind.REPLY_TOPICS_GONE, read.topic)
        # What was deleted from before the window is not missed.
        if read.truncated_ms is not None and read.truncated_ms > evidence.window.since_ms:
            tally.add(Kind.TRUNCATED, f"{read.topic} before {_time(read.truncated_ms)}")
    for topic, number in evidence.kafka.undecodable.items():
        tally.add(Kind.UNDECODABLE, topic, times=number)
    for topic, number in evidence.kafka.unauthentic.items():
        tally.add(Kind.UNAUTHENTIC, topic, times=number)
    if evidence.invoice is not None and not evidence.invoice.complete:
        tally.add(Kind.INVOICE_INCOMPLETE, "invoice")
    for letter_id, letter in evidence.kafka.dead_letters.items():
        if letter.inside and letter_id not in evidence.kafka.actions:
            tally.add(Kind.DEAD_LETTERS_WAITING, letter_id)


def _count_dead_lettered(evidence: Evidence, totals: RequestTotals) -> int:
    """Return how many accepted requests have a dead letter, but for those that end no request."""
    dead = {
        each.request_id
        for each in evidence.kafka.dead_letters.values()
        if each.inside
        and each.stage not in (WEBHOOKS.name, FEEDBACK.name)
        and not each.forged
        and each.record not in evidence.kafka.malformed
    }
    return len(dead & (totals.terminals.keys() | set(totals.open) | set(totals.missing)))


def _figures(
    evidence: Evidence, totals: RequestTotals, calls: CallTotals, tally: FindingTally
) -> dict[str, Any]:
    """Return the numbers. `accepted` is the sum of the six statuses, `open` and `missing`.

    Requests with a dead letter are among them, malformed records are not. `orphaned`, `failed` and otherwise
    estimated calls may be booked above (`estimates_over_usd`) or below (`estimates_under_usd`) what was
    billed; of these, `estimates_not_invoiced` are booked with an amount and not billed.
    """
    orphaned, estimated, unbooked = calls.orphaned, calls.estimated, calls.unbooked
    of_invoice: dict[str, Any] = {
        "invoice_usd": usd_text(calls.invoiced_nano),
        "orphaned_invoiced_usd": usd_text(orphaned.invoiced_nano),
        "failed_invoiced_usd": usd_text(estimated.invoiced_nano),
        "estimates_over_usd": usd_text(sum(each.over_nano for each in calls.estimates)),
        "estimates_under_usd": usd_text(sum(each.under_nano for each in calls.estimates)),
        "estimates_not_invoiced": sum(each.not_invoiced for each in calls.estimates),
        "unbooked_calls": unbooked.calls,
        "unbooked_usd": usd_text(unbooked.invoiced_nano),
    }
    return {
        "accepted": totals.accepted,
        **{status.value: totals.by_status[status.value] for status in Status},
        "open": len(totals.open),
        "missing": len(totals.missing),
        "malformed": totals.malformed,
        "dead_lettered": _count_dead_lettered(evidence, totals),
        "submissions": totals.submissions,
        "conflicts": evidence.kafka.conflicts,
        "contradictory_replies": tally.count(Kind.CONTRADICTORY_REPLIES, Kind.ANSWERED_TWICE),
        "resent_replies": totals.resent_replies,
        "unanswered_submissions": tally.count(Kind.UNANSWERED_SUBMISSIONS),
        "duplicate_charges": tally.count(Kind.DUPLICATE_CHARGES),
        "resent_charges": totals.resent_charges,
        "ledger_usd": usd_text(totals.ledger_nano),
        "clickhouse_usd": usd_text(totals.clickhouse_nano),
        "rows_missing": tally.count(Kind.ROWS_MISSING),
        "rows_extra": tally.count(Kind.ROWS_EXTRA),
        "rows_waiting": totals.rows_waiting,
        "calls": sum(each.calls for each in calls.booked),
        "orphaned_calls": orphaned.calls,
        "orphaned_booked_usd": usd_text(orphaned.booked_nano),
        "failed_calls": estimated.calls,
        "failed_booked_usd": usd_text(estimated.booked_nano),
        "retries_waiting": totals.retries_waiting,
        **(of_invoice if evidence.invoice is not None else dict.fromkeys(of_invoice)),
    }


def _source_states(evidence: Evidence) -> Iterator[SourceState]:
    kafka = evidence.kafka
    for read in kafka.topics.values():
        last = "nothing" if read.last_ms is None else f"the last of {_time(read.last_ms)}"
        state = "does not exist" if read.gone else f"{read.records} records, {last}"
        yield SourceState(name=read.topic, state=state)
    for group in filter(None, (*kafka.stages, kafka.relay, kafka.sink)):
        since = "" if group.oldest_ms is None else f", the oldest of {_time(group.oldest_ms)}"
        yield SourceState(name=group.group, state=f"{group.lag} records of {group.topic} to do{since}")
    yield SourceState(name="Redis", state=f"{evidence.redis.known} undecided requests known")
    rows, calls = len(evidence.clickhouse.rows), len(evidence.clickhouse.calls)
    yield SourceState(name="ClickHouse", state=f"{rows} requests, {calls} calls")
    billed = "not read: no simulator is known (name one with --invoice URL)"
    if evidence.invoice is not None:
        billed = f"{len(evidence.invoice.items)} calls billed"
    yield SourceState(name="invoice", state=billed)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""From evidence to report. Pure: whatever is wrong with the evidence is found here."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from headrace.ops.audit.balance.calls import CallTotals, compare_calls
from headrace.ops.audit.balance.money import MoneyTotals, check_unknown_ids, compare_money
from headrace.ops.audit.balance.replies import RequestOutcomes, decide
from headrace.ops.audit.evidence.records import Evidence, usd_text
from headrace.ops.audit.findings import FindingKind, FindingTally
from headrace.ops.audit.findings import FindingKind as Kind
from headrace.ops.audit.report import AuditFigures, AuditReport, AuditVerdict, Equation, SourceState
from headrace.ops.audit.work_in_progress import WorkInProgress
from streams.events import Status
from streams.pipeline import ENTRANCES, FEEDBACK, WEBHOOKS

_ENTRANCES = frozenset(topic.name for topic in ENTRANCES)
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
    outcomes: RequestOutcomes,
    money: MoneyTotals,
    calls: CallTotals,
    tally: FindingTally,
    *,
    with_invoice: bool,
) -> Iterator[Equation]:
    """Yield the equations, those of the invoice only where there is one."""
    count = tally.count
    replies, submissions, malformed = len(outcomes.terminals), outcomes.submissions, outcomes.malformed
    contradictory = count(Kind.CONTRADICTORY_REPLIES, Kind.ANSWERED_TWICE)
    not_told = max(count(Kind.MALFORMED_UNBURIED), count(Kind.MALFORMED_UNTOLD))
    replied_nano = sum(each.cost_nano for each in outcomes.terminals.values())
    booked_nano = sum(each.booked_nano for each in calls.booked)
    estimated_nano = sum(each.booked_nano for each in calls.estimates)
    invoiced_nano = sum(each.invoiced_nano for each in calls.estimates)
    booked = sum(each.calls for each in calls.booked)
    sides: tuple[tuple[object, object], ...] = (
        (outcomes.accepted, replies + len(outcomes.open)),
        (replies + contradictory, replies),
        (submissions, submissions - count(Kind.UNANSWERED_SUBMISSIONS)),
        (malformed, malformed - not_told),
        (usd_text(money.ledger_nano), usd_text(replied_nano)),
        (usd_text(money.compared_ledger_nano), usd_text(money.compared_clickhouse_nano)),
        (replies - money.rows_waiting, money.rows),
        (usd_text(booked_nano), usd_text(money.clickhouse_nano)),
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
    outcomes = decide(evidence, progress, tally)
    money = compare_money(evidence, outcomes, progress, tally)
    calls = compare_calls(evidence, outcomes, money, tally)
    check_unknown_ids(evidence, tally, truncated_ms=_note_unread(evidence, tally))
    outcomes.dead_lettered = _note_dead_letters(evidence, outcomes, tally)
    until_ms = evidence.taken_at_ms if evidence.window.until_ms is None else evidence.window.until_ms
    with_invoice = evidence.invoice is not None
    return AuditReport(
        verdict=_verdict(tally),
        since=_time(evidence.window.since_ms),
        until=_time(until_ms),
        took_s=round(took_s, 2),
        figures=_figures(evidence, outcomes, money, calls, tally),
        equations=tuple(equations(outcomes, money, calls, tally, with_invoice=with_invoice)),
        findings=tally.findings(),
        parts=tuple(_source_states(evidence)),
        waiting=tally.count(FindingKind.OPEN, FindingKind.WAITING),
    )


def _verdict(tally: FindingTally) -> AuditVerdict:
    if tally.breaks:
        return AuditVerdict.UNBALANCED
    return AuditVerdict.OPEN if tally.open else AuditVerdict.BALANCED


def _note_unread(evidence: Evidence, tally: FindingTally) -> int:
    """Note what could not be read; return before which time requests may have been deleted."""
    truncated_ms = 0
    for read in evidence.kafka.topics.values():
        if read.gone:
            tally.add(FindingKind.REPLY_TOPICS_GONE, read.topic)
        if read.truncated_ms is not None:
            tally.add(FindingKind.TRUNCATED, f"{read.topic} before {_time(read.truncated_ms)}")
            if read.topic in _ENTRANCES:
                truncated_ms = max(truncated_ms, read.truncated_ms)
    for topic, number in evidence.kafka.undecodable.items():
        tally.add(FindingKind.UNDECODABLE, topic, times=number)
    for topic, number in evidence.kafka.unauthentic.items():
        tally.add(FindingKind.UNAUTHENTIC, topic, times=number)
    if evidence.invoice is not None and not evidence.invoice.complete:
        tally.add(FindingKind.INVOICE_INCOMPLETE, "invoice")
    return truncated_ms


def _note_dead_letters(evidence: Evidence, outcomes: RequestOutcomes, tally: FindingTally) -> int:
    """Note the dead letters that wait for an operator; return how many accepted requests have one."""
    kafka = evidence.kafka
    letters = [each for each in kafka.dead_letters.values() if each.inside]
    waiting = (each.letter_id for each in letters if each.letter_id not in kafka.actions)
    tally.add_all(FindingKind.DEAD_LETTERS_WAITING, waiting)
    # A webhook that could not be delivered, or a score that found no request, is no end of its request; nor
    # is what somebody else wrote in the name of a stage.
    dead = {
        each.request_id
        for each in letters
        if each.stage not in (WEBHOOKS.name, FEEDBACK.name)
        and not each.forged
        and each.record not in kafka.malformed
    }
    return len(dead & (outcomes.terminals.keys() | set(outcomes.open) | set(outcomes.missing)))


def _figures(
    evidence: Evidence,
    outcomes: RequestOutcomes,
    money: MoneyTotals,
    calls: CallTotals,
    tally: FindingTally,
) -> AuditFigures:
    statuses: dict[str, Any] = {status.value: outcomes.by_status[status.value] for status in Status}
    figures = AuditFigures(
        accepted=outcomes.accepted,
        **statuses,
        open=len(outcomes.open),
        missing=len(outcomes.missing),
        malformed=outcomes.malformed,
        dead_lettered=outcomes.dead_lettered,
        submissions=outcomes.submissions,
        conflicts=evidence.kafka.conflicts,
        contradictory_replies=tally.count(FindingKind.CONTRADICTORY_REPLIES, FindingKind.ANSWERED_TWICE),
        resent_replies=outcomes.resent,
        unanswered_submissions=tally.count(FindingKind.UNANSWERED_SUBMISSIONS),
        duplicate_charges=tally.count(FindingKind.DUPLICATE_CHARGES),
        resent_charges=money.resent_charges,
        ledger_usd=usd_text(money.ledger_nano),
        clickhouse_usd=usd_text(money.clickhouse_nano),
        rows_missing=tally.count(FindingKind.ROWS_MISSING),
        rows_extra=tally.count(FindingKind.ROWS_EXTRA),
        rows_waiting=money.rows_waiting,
        calls=sum(each.calls for each in calls.booked),
        orphaned_calls=calls.orphaned.calls,
        orphaned_booked_usd=usd_text(calls.orphaned.booked_nano),
        failed_calls=calls.estimated.calls,
        failed_booked_usd=usd_text(calls.estimated.booked_nano),
        retries_waiting=outcomes.retries_waiting,
    )
    if evidence.invoice is not None:
        figures.invoice_usd = usd_text(calls.invoiced_nano)
        figures.orphaned_invoiced_usd = usd_text(calls.orphaned.invoiced_nano)
        figures.failed_invoiced_usd = usd_text(calls.estimated.invoiced_nano)
        figures.estimates_over_usd = usd_text(sum(each.over_nano for each in calls.estimates))
        figures.estimates_under_usd = usd_text(sum(each.under_nano for each in calls.estimates))
        figures.estimates_not_invoiced = sum(each.not_invoiced for each in calls.estimates)
        figures.unbooked_calls = calls.unbooked.calls
        figures.unbooked_usd = usd_text(calls.unbooked.invoiced_nano)
    return figures


def _source_states(evidence: Evidence) -> Iterator[SourceState]:
    kafka = evidence.kafka
    for read in kafka.topics.values():
        last = "nothing" if read.last_ms is None else f"the last of {_time(read.last_ms)}"
        state = "does not exist" if read.gone else f"{read.records} records, {last}"
        yield SourceState(name=read.topic, state=state)
    sinks = () if kafka.sink is None else (kafka.sink,)
    for group in (*kafka.stages, *kafka.retrying, *sinks):
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

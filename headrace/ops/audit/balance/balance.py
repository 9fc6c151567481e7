"""From books to report. Pure: whatever is wrong with the books is found here."""

from collections.abc import Iterable
from datetime import UTC, datetime

from headrace.ops.audit.balance.calls import count_calls
from headrace.ops.audit.balance.equations import Account, equations
from headrace.ops.audit.balance.money import check_strangers, weigh
from headrace.ops.audit.balance.replies import Decided, decide
from headrace.ops.audit.evidence.records import Books, usd_text
from headrace.ops.audit.findings import Code, Tally
from headrace.ops.audit.progress import Progress
from headrace.ops.audit.report import Figures, Part, Report, Verdict
from streams import pipeline
from streams.events import Status
from streams.pipeline import ENTRANCES
from streams.request_rules.feedback import STAGE as FEEDBACK

_ENTRANCES = frozenset(topic.name for topic in ENTRANCES)


def balance(books: Books, *, took_s: float = 0.0) -> Report:
    """Return the report on what was read.

    Args:
        books: what was read.
        took_s: how long reading took.
    """
    tally, progress = Tally(), Progress(books)
    decided = decide(books, progress, tally)
    money = weigh(books, decided, progress, tally)
    calls = count_calls(books, decided, money, tally)
    truncated_ms = _note_reading(books, tally)
    check_strangers(books, tally, truncated_ms=truncated_ms)
    dead = _note_dead_letters(books, decided, tally)
    account = Account(books=books, decided=decided, money=money, calls=calls, tally=tally)
    until_ms = books.taken_at_ms if books.window.until_ms is None else books.window.until_ms
    return Report(
        verdict=_verdict(tally),
        since=_text(books.window.since_ms),
        until=_text(until_ms),
        took_s=round(took_s, 2),
        figures=_figures(account, retries_waiting=progress.retries_waiting, dead_lettered=dead),
        equations=tuple(equations(account)),
        findings=tally.findings(),
        parts=tuple(_parts(books)),
        waiting=tally.count(Code.OPEN, Code.WAITING),
    )


def _verdict(tally: Tally) -> Verdict:
    if tally.breaks:
        return Verdict.UNBALANCED
    return Verdict.OPEN if tally.open else Verdict.BALANCED


def _note_reading(books: Books, tally: Tally) -> int:
    """Note what could not be read; return before which time requests may have been deleted."""
    truncated_ms = 0
    for reading in books.kafka.readings.values():
        if reading.gone:
            tally.add(Code.GONE, reading.topic)
        if reading.truncated_ms is not None:
            tally.add(Code.TRUNCATED, f"{reading.topic} before {_text(reading.truncated_ms)}")
            if reading.topic in _ENTRANCES:
                truncated_ms = max(truncated_ms, reading.truncated_ms)
    for topic, number in books.kafka.undecodable.items():
        tally.add(Code.UNDECODABLE, topic, times=number)
    for topic, number in books.kafka.unauthentic.items():
        tally.add(Code.UNAUTHENTIC, topic, times=number)
    if books.invoice is not None and not books.invoice.complete:
        tally.add(Code.INVOICE_CUT, "invoice")
    return truncated_ms


def _note_dead_letters(books: Books, decided: Decided, tally: Tally) -> int:
    """Note the dead letters that wait for an operator; return how many accepted requests have one."""
    letters = [each for each in books.kafka.dead_letters.values() if each.inside]
    tally.add_all(Code.DEAD, (each.place for each in letters if each.place not in books.kafka.actions))
    malformed = books.kafka.malformed
    # A webhook that could not be delivered, or a score that found no request, is no end of its request; nor
    # is what somebody else wrote in the name of a stage.
    ends = [
        each for each in letters if each.stage not in (pipeline.WEBHOOKS.name, FEEDBACK) and not each.forged
    ]
    dead = {each.request_id for each in ends if each.record not in malformed}
    return len(dead & (decided.terminals.keys() | set(decided.open) | set(decided.missing)))


def _figures(account: Account, *, retries_waiting: int, dead_lettered: int) -> Figures:
    books, decided, money = account.books, account.decided, account.money
    calls, tally = account.calls, account.tally
    with_invoice = books.invoice is not None
    return Figures(
        accepted=decided.accepted,
        **{status.value: decided.by_status[status.value] for status in Status},
        open=len(decided.open),
        missing=len(decided.missing),
        malformed=decided.malformed,
        dead_lettered=dead_lettered,
        submissions=decided.submissions,
        conflicts=books.kafka.conflicts,
        contradictory_replies=tally.count(Code.CONTRADICTORY, Code.ANSWERED_TWICE),
        resent_replies=decided.resent,
        unanswered_submissions=tally.count(Code.UNANSWERED),
        duplicate_charges=tally.count(Code.DUPLICATE_CHARGE),
        resent_charges=money.resent_charges,
        ledger_usd=usd_text(money.ledger_nano),
        clickhouse_usd=usd_text(money.clickhouse_nano),
        rows_missing=tally.count(Code.ROW_MISSING),
        rows_extra=tally.count(Code.ROW_EXTRA),
        rows_waiting=money.rows_waiting,
        calls=calls.exact.calls + calls.estimated.calls + calls.orphaned.calls,
        orphaned_calls=calls.orphaned.calls,
        orphaned_booked_usd=usd_text(calls.orphaned.booked_nano),
        failed_calls=calls.estimated.calls,
        failed_booked_usd=usd_text(calls.estimated.booked_nano),
        retries_waiting=retries_waiting,
        invoice_usd=usd_text(calls.invoiced_nano) if with_invoice else None,
        orphaned_invoiced_usd=usd_text(calls.orphaned.invoiced_nano) if with_invoice else None,
        failed_invoiced_usd=usd_text(calls.estimated.invoiced_nano) if with_invoice else None,
        estimates_over_usd=usd_text(sum(each.over_nano for each in calls.guessed)) if with_invoice else None,
        estimates_under_usd=usd_text(sum(each.under_nano for each in calls.guessed))
        if with_invoice
        else None,
        estimates_not_invoiced=sum(each.not_invoiced for each in calls.guessed) if with_invoice else None,
        unbooked_calls=calls.unbooked.calls if with_invoice else None,
        unbooked_usd=usd_text(calls.unbooked.invoiced_nano) if with_invoice else None,
    )


def _parts(books: Books) -> Iterable[Part]:
    for reading in books.kafka.readings.values():
        last = "nothing" if reading.last_ms is None else f"the last of {_text(reading.last_ms)}"
        state = "does not exist" if reading.gone else f"{reading.records} records, {last}"
        yield Part(name=reading.topic, state=state)
    sinks = () if books.kafka.sink is None else (books.kafka.sink,)
    for group in (*books.kafka.stages, *books.kafka.retrying, *sinks):
        since = "" if group.oldest_ms is None else f", the oldest of {_text(group.oldest_ms)}"
        yield Part(name=group.group, state=f"{group.lag} records of {group.topic} to do{since}")
    yield Part(name="Redis", state=f"{len(books.registry.standings)} undecided requests known")
    rows, calls = len(books.clickhouse.rows), len(books.clickhouse.calls)
    yield Part(name="ClickHouse", state=f"{rows} requests, {calls} calls")
    billed = "not read: no simulator is known (name one with --invoice URL)"
    if books.invoice is not None:
        billed = f"{len(books.invoice.items)} calls billed"
    yield Part(name="invoice", state=billed)


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Charges, log records and rows: one each, with the same amount."""

import msgspec
import pytest

from headrace.ops.audit.balance.balance import balance
from headrace.ops.audit.evidence.records import Charge, DeadLetter, Reading
from headrace.ops.audit.report import Verdict
from tests.headrace.ops.audit.good_books import (
    AT_MS,
    COST_NANO,
    NOW_MS,
    SINCE_MS,
    add_request,
    broken_equations,
    found,
    good_books,
    stand,
    terminal,
)


def test_two_amounts_under_one_entry_id_are_a_duplicate_charge() -> None:
    """Nobody can say which of the two the customer owes."""
    books = good_books()
    books.kafka.charges["r0"][0].contradictory = True
    report = balance(books)
    assert report.verdict is Verdict.UNBALANCED
    assert report.figures.duplicate_charges == 1
    assert broken_equations(report) == ["ledger = replies, one charge per request"]


def test_an_entry_sent_again_as_it_was_is_no_charge() -> None:
    """The reader of the ledger recognises it by its id."""
    books = good_books()
    books.kafka.charges["r0"][0].times = 2
    report = balance(books)
    assert report.verdict is Verdict.BALANCED
    assert report.figures.resent_charges == 1
    assert report.figures.ledger_usd == "0.003001500"


def test_a_second_entry_for_a_request_is_a_duplicate_charge() -> None:
    """Another entry id does not make it another charge."""
    books = good_books()
    books.kafka.charges["r0"].append(Charge(entry_id="forged", replay=0, amount_nano=7))
    assert set(found(books)) == {
        "duplicate_charges",
        "ledger_differs_from_reply",
        "ledger_differs_from_clickhouse",
    }


def test_a_charge_that_is_missing_from_the_ledger_is_found() -> None:
    """The request cost something, and nobody was charged."""
    books = good_books()
    del books.kafka.charges["r1"]
    assert set(found(books)) == {"ledger_differs_from_reply", "ledger_differs_from_clickhouse"}


def test_a_request_that_cost_nothing_needs_no_charge() -> None:
    """A hit, a refusal: there is no entry for nothing."""
    books = good_books()
    books.kafka.terminals["r0"][0].cost_nano = 0
    books.kafka.terminals["r0"][0].status = books.clickhouse.rows["r0"].status = "cached"
    books.clickhouse.rows["r0"].cost_nano = 0
    books.kafka.logs["r0"] = msgspec.structs.replace(books.kafka.logs["r0"], call_ids=())
    del books.kafka.charges["r0"]
    del books.clickhouse.calls["call-r0"]
    assert books.invoice is not None
    del books.invoice.items["call-r0"]
    report = balance(books)
    assert report.verdict is Verdict.BALANCED
    assert (report.figures.cached, report.figures.answered) == (1, 2)


def test_equal_sums_do_not_hide_two_wrong_requests() -> None:
    """The amounts are compared per request, not in all."""
    books = good_books()
    books.clickhouse.rows["r0"].cost_nano += 1
    books.clickhouse.rows["r1"].cost_nano -= 1
    report = balance(books)
    equation = next(each for each in report.equations if each.name == "ledger = ClickHouse, per request")
    assert equation.left == equation.right
    assert not equation.holds
    assert found(books)["ledger_differs_from_clickhouse"].ids == ("r0", "r1")


def test_a_missing_row_is_found() -> None:
    """The sink is past the log record, and the row is not there."""
    books = good_books()
    del books.clickhouse.rows["r2"]
    report = balance(books)
    assert report.verdict is Verdict.UNBALANCED
    assert report.figures.rows_missing == 1
    assert set(broken_equations(report)) == {"ledger = ClickHouse, per request", "one row per request"}


def test_a_row_is_waited_for_while_the_sink_has_not_come_to_the_log_record() -> None:
    """Until then it is on its way, and left out of the comparison."""
    books = good_books()
    del books.clickhouse.rows["r2"]
    books.kafka.sink = stand("headrace.analytics", "llm.logs.v1", done=2)
    report = balance(books)
    assert report.verdict is Verdict.OPEN
    assert (report.figures.rows_missing, report.figures.rows_waiting) == (0, 1)


def test_a_missing_row_whose_log_record_is_a_dead_letter_is_accounted_for() -> None:
    """ClickHouse refused it; an operator can replay it."""
    books = good_books()
    del books.clickhouse.rows["r2"]
    books.kafka.dead_letters["0:0"] = DeadLetter(
        place="0:0",
        stage="analytics",
        record="llm.logs.v1:0:2",
        request_id="r2",
        inside=True,
    )
    assert {code for code, finding in found(books).items() if finding.breaks} == set()
    assert "rows_dead_lettered" in found(books)


def test_a_second_row_for_a_request_is_found() -> None:
    """Two rows would count the request twice."""
    books = good_books()
    books.clickhouse.rows["r0"].rows = 2
    assert balance(books).figures.rows_extra == 1
    assert balance(books).verdict is Verdict.UNBALANCED


def test_a_row_with_another_status_than_the_reply_is_found() -> None:
    """Analysts must see what the sender saw."""
    books = good_books()
    books.clickhouse.rows["r0"].status = "failed"
    assert list(found(books)) == ["rows_differ"]


def test_a_reply_without_a_log_record_is_found() -> None:
    """Once the cost stage is past the outcome, log and reply are both out."""
    books = good_books()
    del books.kafka.logs["r0"]
    assert list(found(books)) == ["unlogged"]
    del books.clickhouse.rows["r0"]
    assert set(found(books)) == {"unlogged", "rows_missing"}


@pytest.mark.parametrize("missing", ["logs", "charges"])
def test_what_the_cost_stage_has_still_to_send_is_waited_for(missing: str) -> None:
    """A crash between the reply and the rest: the outcome comes again."""
    books = good_books()
    getattr(books.kafka, missing).pop("r0")
    del books.clickhouse.rows["r0"]
    books.kafka.sink = stand("headrace.analytics", "llm.logs.v1", done=0)
    books.kafka.stages = tuple(
        stand(each.group, each.topic, oldest_ms=AT_MS) if each.group == "headrace.cost" else each
        for each in books.kafka.stages
    )
    assert balance(books).verdict is Verdict.OPEN


def test_a_request_that_failed_in_the_cost_stage_has_no_log_record() -> None:
    """It has a dead letter there, and a reply that says so."""
    books = good_books()
    failed = msgspec.structs.replace(terminal(status="failed"), accepted_at_ms=None, cost_nano=0)
    books.kafka.terminals["r0"] = [failed]
    for book in (books.kafka.logs, books.kafka.charges, books.clickhouse.rows):
        book.pop("r0")
    books.clickhouse.calls.clear()
    books.invoice = None
    for request_id in ("r1", "r2"):
        books.kafka.logs[request_id] = msgspec.structs.replace(books.kafka.logs[request_id], call_ids=())
    assert {"rows_missing", "unlogged"}.isdisjoint(found(books))


@pytest.mark.parametrize("book", ["terminals", "logs", "charges", "rows"])
def test_what_belongs_to_no_request_is_found(book: str) -> None:
    """Somebody else wrote a reply, a log record, an entry or a row."""
    books, other = good_books(), good_books(0)
    add_request(other, "stranger")
    for part in (books.kafka, books.clickhouse):
        if hasattr(part, book):
            source = other.kafka if part is books.kafka else other.clickhouse
            getattr(part, book)["stranger"] = getattr(source, book)["stranger"]
    assert list(found(books)) == ["strangers"]
    assert balance(books).verdict is Verdict.UNBALANCED


def test_feedback_does_not_make_a_stranger_known() -> None:
    """Anybody may give it on any id; another stage's dead letter says that somebody asked for it."""
    books, other = good_books(), good_books(0)
    add_request(other, "stranger")
    books.kafka.charges["stranger"] = other.kafka.charges["stranger"]
    letter = DeadLetter(
        place="0:0", stage="feedback", record="llm.feedback.v1:0:1", request_id="stranger", inside=False
    )
    books.kafka.dead_letters["0:0"] = letter
    assert "strangers" in found(books)
    books.kafka.dead_letters["0:0"] = msgspec.structs.replace(letter, stage="guardrail")
    assert "strangers" not in found(books)


@pytest.mark.parametrize("accepted_at_ms", [SINCE_MS - 1, NOW_MS])
def test_what_belongs_to_requests_outside_the_window_is_nobody_s_fault(accepted_at_ms: int) -> None:
    """A reply inside the window may answer an earlier request, or one that came during the audit."""
    books = good_books()
    add_request(books, "other", at_ms=accepted_at_ms)
    del books.kafka.requests["other"]
    del books.clickhouse.calls["call-other"]
    assert books.invoice is not None
    del books.invoice.items["call-other"]
    assert balance(books).verdict is Verdict.BALANCED


def test_what_retention_has_deleted_is_said_and_not_missed() -> None:
    """Replies outlive the requests that retention has taken: that part of the window is not audited."""
    books = good_books()
    add_request(books, "deleted", at_ms=SINCE_MS + 5)
    del books.kafka.requests["deleted"]
    del books.clickhouse.calls["call-deleted"]
    assert books.invoice is not None
    del books.invoice.items["call-deleted"]
    books.kafka.readings["llm.requests.v1"] = Reading(topic="llm.requests.v1", truncated_ms=AT_MS)
    report = balance(books)
    assert report.verdict is Verdict.BALANCED
    assert list(found(books)) == ["truncated"]


def test_money_is_exact_to_the_nano_dollar() -> None:
    """One nano-dollar is enough."""
    books = good_books()
    books.kafka.charges["r0"][0].amount_nano = COST_NANO + 1
    assert balance(books).figures.ledger_usd == "0.003001501"
    assert balance(books).verdict is Verdict.UNBALANCED

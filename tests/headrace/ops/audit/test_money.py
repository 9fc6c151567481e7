"""Charges, log records and rows: one each, with the same amount."""

import msgspec
import pytest

from headrace.ops.audit.balance import balance
from headrace.ops.audit.evidence import DeadLetter, LedgerCharge, TopicRead
from headrace.ops.audit.report import AuditVerdict
from tests.headrace.ops.audit.good_evidence import (
    AT_MS,
    COST_NANO,
    NOW_MS,
    SINCE_MS,
    add_request,
    broken_equations,
    found,
    good_evidence,
    stand,
    terminal,
)


def test_two_amounts_under_one_entry_id_are_a_duplicate_charge() -> None:
    """Nobody can say which of the two the customer owes."""
    evidence = good_evidence()
    evidence.kafka.charges["r0"][0].contradictory = True
    report = balance(evidence)
    assert report.verdict is AuditVerdict.UNBALANCED
    assert report.figures["duplicate_charges"] == 1
    assert broken_equations(report) == ["ledger = replies, one charge per request"]


def test_an_entry_sent_again_as_it_was_is_no_charge() -> None:
    """The reader of the ledger recognises it by its id."""
    evidence = good_evidence()
    evidence.kafka.charges["r0"][0].times = 2
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert report.figures["resent_charges"] == 1
    assert report.figures["ledger_usd"] == "0.003001500"


def test_a_second_entry_for_a_request_is_a_duplicate_charge() -> None:
    """Another entry id does not make it another charge."""
    evidence = good_evidence()
    evidence.kafka.charges["r0"].append(LedgerCharge(entry_id="forged", replay=0, amount_nano=7))
    assert set(found(evidence)) == {
        "duplicate_charges",
        "ledger_differs_from_reply",
        "ledger_differs_from_clickhouse",
    }


def test_a_charge_that_is_missing_from_the_ledger_is_found() -> None:
    """The request cost something, and nobody was charged."""
    evidence = good_evidence()
    del evidence.kafka.charges["r1"]
    assert set(found(evidence)) == {"ledger_differs_from_reply", "ledger_differs_from_clickhouse"}


def test_a_request_that_cost_nothing_needs_no_charge() -> None:
    """A hit, a refusal: there is no entry for nothing."""
    evidence = good_evidence()
    evidence.kafka.terminals["r0"][0].cost_nano = 0
    evidence.kafka.terminals["r0"][0].status = evidence.clickhouse.rows["r0"].status = "cached"
    evidence.clickhouse.rows["r0"].cost_nano = 0
    evidence.kafka.logs["r0"] = msgspec.structs.replace(evidence.kafka.logs["r0"], call_ids=())
    del evidence.kafka.charges["r0"]
    del evidence.clickhouse.calls["call-r0"]
    assert evidence.invoice is not None
    del evidence.invoice.items["call-r0"]
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert (report.figures["cached"], report.figures["answered"]) == (1, 2)


def test_equal_sums_do_not_hide_two_wrong_requests() -> None:
    """The amounts are compared per request, not in all."""
    evidence = good_evidence()
    evidence.clickhouse.rows["r0"].cost_nano += 1
    evidence.clickhouse.rows["r1"].cost_nano -= 1
    report = balance(evidence)
    equation = next(each for each in report.equations if each.name == "ledger = ClickHouse, per request")
    assert equation.left == equation.right
    assert not equation.holds
    assert found(evidence)["ledger_differs_from_clickhouse"].ids == ("r0", "r1")


def test_a_missing_row_is_found() -> None:
    """The sink is past the log record, and the row is not there."""
    evidence = good_evidence()
    del evidence.clickhouse.rows["r2"]
    report = balance(evidence)
    assert report.verdict is AuditVerdict.UNBALANCED
    assert report.figures["rows_missing"] == 1
    assert set(broken_equations(report)) == {"ledger = ClickHouse, per request", "one row per request"}


def test_a_row_is_waited_for_while_the_sink_has_not_come_to_the_log_record() -> None:
    """Until then it is on its way, and left out of the comparison."""
    evidence = good_evidence()
    del evidence.clickhouse.rows["r2"]
    evidence.kafka.sink = stand("headrace.analytics", "llm.logs.v1", done=2)
    report = balance(evidence)
    assert report.verdict is AuditVerdict.OPEN
    assert (report.figures["rows_missing"], report.figures["rows_waiting"]) == (0, 1)


def test_a_missing_row_whose_log_record_is_a_dead_letter_is_accounted_for() -> None:
    """ClickHouse refused it; an operator can replay it."""
    evidence = good_evidence()
    del evidence.clickhouse.rows["r2"]
    evidence.kafka.dead_letters["0:0"] = DeadLetter(
        stage="analytics",
        record="llm.logs.v1:0:2",
        request_id="r2",
        inside=True,
    )
    assert {code for code, finding in found(evidence).items() if finding.breaks} == set()
    assert "rows_dead_lettered" in found(evidence)


def test_a_second_row_for_a_request_is_found() -> None:
    """Two rows would count the request twice."""
    evidence = good_evidence()
    evidence.clickhouse.rows["r0"].rows = 2
    assert balance(evidence).figures["rows_extra"] == 1
    assert balance(evidence).verdict is AuditVerdict.UNBALANCED


def test_a_row_with_another_status_than_the_reply_is_found() -> None:
    """Analysts must see what the sender saw."""
    evidence = good_evidence()
    evidence.clickhouse.rows["r0"].status = "failed"
    assert list(found(evidence)) == ["rows_differ"]


def test_a_reply_without_a_log_record_is_found() -> None:
    """Once the cost stage is past the outcome, log and reply are both out."""
    evidence = good_evidence()
    del evidence.kafka.logs["r0"]
    assert list(found(evidence)) == ["unlogged"]
    del evidence.clickhouse.rows["r0"]
    assert set(found(evidence)) == {"unlogged", "rows_missing"}


@pytest.mark.parametrize("missing", ["logs", "charges"])
def test_what_the_cost_stage_has_still_to_send_is_waited_for(missing: str) -> None:
    """A crash between the reply and the rest: the outcome comes again."""
    evidence = good_evidence()
    getattr(evidence.kafka, missing).pop("r0")
    del evidence.clickhouse.rows["r0"]
    evidence.kafka.sink = stand("headrace.analytics", "llm.logs.v1", done=0)
    evidence.kafka.stages = tuple(
        stand(each.group, each.topic, oldest_ms=AT_MS) if each.group == "headrace.cost" else each
        for each in evidence.kafka.stages
    )
    assert balance(evidence).verdict is AuditVerdict.OPEN


def test_a_request_that_failed_in_the_cost_stage_has_no_log_record() -> None:
    """It has a dead letter there, and a reply that says so."""
    evidence = good_evidence()
    failed = msgspec.structs.replace(terminal(status="failed"), accepted_at_ms=None, cost_nano=0)
    evidence.kafka.terminals["r0"] = [failed]
    for book in (evidence.kafka.logs, evidence.kafka.charges, evidence.clickhouse.rows):
        book.pop("r0")
    evidence.clickhouse.calls.clear()
    evidence.invoice = None
    for request_id in ("r1", "r2"):
        evidence.kafka.logs[request_id] = msgspec.structs.replace(
            evidence.kafka.logs[request_id], call_ids=()
        )
    assert {"rows_missing", "unlogged"}.isdisjoint(found(evidence))


@pytest.mark.parametrize("book", ["terminals", "logs", "charges", "rows"])
def test_what_belongs_to_no_request_is_found(book: str) -> None:
    """Somebody else wrote a reply, a log record, an entry or a row."""
    evidence, other = good_evidence(), good_evidence(0)
    add_request(other, "stranger")
    for part in (evidence.kafka, evidence.clickhouse):
        if hasattr(part, book):
            source = other.kafka if part is evidence.kafka else other.clickhouse
            getattr(part, book)["stranger"] = getattr(source, book)["stranger"]
    assert list(found(evidence)) == ["strangers"]
    assert balance(evidence).verdict is AuditVerdict.UNBALANCED


def test_feedback_does_not_make_a_stranger_known() -> None:
    """Anybody may give it on any id; another stage's dead letter says that somebody asked for it."""
    evidence, other = good_evidence(), good_evidence(0)
    add_request(other, "stranger")
    evidence.kafka.charges["stranger"] = other.kafka.charges["stranger"]
    letter = DeadLetter(stage="feedback", record="llm.feedback.v1:0:1", request_id="stranger", inside=False)
    evidence.kafka.dead_letters["0:0"] = letter
    assert "strangers" in found(evidence)
    evidence.kafka.dead_letters["0:0"] = msgspec.structs.replace(letter, stage="guardrail")
    assert "strangers" not in found(evidence)


@pytest.mark.parametrize("accepted_at_ms", [SINCE_MS - 1, NOW_MS])
def test_what_belongs_to_requests_outside_the_window_is_nobody_s_fault(accepted_at_ms: int) -> None:
    """A reply inside the window may answer an earlier request, or one that came during the audit."""
    evidence = good_evidence()
    add_request(evidence, "other", at_ms=accepted_at_ms)
    del evidence.kafka.requests["other"]
    del evidence.clickhouse.calls["call-other"]
    assert evidence.invoice is not None
    del evidence.invoice.items["call-other"]
    assert balance(evidence).verdict is AuditVerdict.BALANCED


def test_what_retention_has_deleted_is_said_and_not_missed() -> None:
    """Replies outlive the requests that retention has taken: that part of the window is not audited."""
    evidence = good_evidence()
    add_request(evidence, "deleted", at_ms=SINCE_MS + 5)
    del evidence.kafka.requests["deleted"]
    del evidence.clickhouse.calls["call-deleted"]
    assert evidence.invoice is not None
    del evidence.invoice.items["call-deleted"]
    evidence.kafka.topics["llm.requests.v1"] = TopicRead(topic="llm.requests.v1", truncated_ms=AT_MS)
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert list(found(evidence)) == ["truncated"]


def test_money_is_exact_to_the_nano_dollar() -> None:
    """One nano-dollar is enough."""
    evidence = good_evidence()
    evidence.kafka.charges["r0"][0].amount_nano = COST_NANO + 1
    assert balance(evidence).figures["ledger_usd"] == "0.003001501"
    assert balance(evidence).verdict is AuditVerdict.UNBALANCED

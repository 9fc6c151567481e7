"""Calls against costs and the invoice."""

import msgspec
import pytest

from headrace.ops.audit.balance import balance
from headrace.ops.audit.evidence import BilledCall, CallRow, Evidence, InvoiceEvidence
from headrace.ops.audit.report import AuditVerdict
from tests.headrace.ops.audit.good_evidence import (
    AT_MS,
    COST_NANO,
    NOW_MS,
    SINCE_MS,
    broken_equations,
    found,
    good_evidence,
    request,
)


def invoice_of(evidence: Evidence) -> InvoiceEvidence:
    assert evidence.invoice is not None
    return evidence.invoice


def change_call(evidence: Evidence, call_id: str, **fields: object) -> None:
    evidence.clickhouse.calls[call_id] = msgspec.structs.replace(evidence.clickhouse.calls[call_id], **fields)


def test_without_a_simulator_the_invoice_is_left_out() -> None:
    """Then its figures are None, its equations are not listed, and that is said."""
    evidence = good_evidence()
    evidence.invoice = None
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert report.figures["invoice_usd"] is None
    assert not [each for each in report.equations if "invoice" in each.name or "billed" in each.name]
    assert "not read" in next(part.state for part in report.parts if part.name == "invoice")


def test_an_answered_call_with_another_amount_than_billed_is_found() -> None:
    """A nano-dollar is enough."""
    evidence = good_evidence()
    invoice_of(evidence).items["call-r0"].cost_nano += 1
    report = balance(evidence)
    assert report.verdict is AuditVerdict.UNBALANCED
    assert broken_equations(report) == ["answered calls booked = invoiced, per call"]
    assert found(evidence)["calls_mispriced"].ids == ("call-r0",)


def test_a_booked_call_that_was_never_billed_is_found() -> None:
    """A book must not hold what did not happen."""
    evidence = good_evidence()
    del invoice_of(evidence).items["call-r0"]
    assert list(found(evidence)) == ["calls_not_invoiced"]


def test_an_incomplete_invoice_is_not_held_against_the_books() -> None:
    """The simulator keeps a bounded number of items; that it has forgotten some is said."""
    evidence = good_evidence()
    del invoice_of(evidence).items["call-r0"]
    invoice_of(evidence).complete = False
    assert list(found(evidence)) == ["invoice_incomplete"]
    assert balance(evidence).verdict is AuditVerdict.BALANCED


def test_a_call_that_was_billed_twice_is_found() -> None:
    """One call, two items."""
    evidence = good_evidence()
    item = invoice_of(evidence).items["call-r0"]
    item.times, item.cost_nano = 2, 2 * item.cost_nano
    assert list(found(evidence)) == ["calls_billed_twice"]


@pytest.mark.parametrize(
    "fields",
    [
        {"orphaned": True, "error": "orphaned"},
        {"estimated": True, "error": "timeout"},
        {"estimated": True, "finish_reason": "content_filter"},
    ],
)
def test_the_estimate_for_an_unfinished_call_may_differ_and_the_difference_is_reported(
    fields: dict[str, object],
) -> None:
    """Orphaned, failed and stopped calls are booked as far as they are known; more may have been written."""
    evidence = good_evidence()
    change_call(evidence, "call-r0", **fields)
    item = invoice_of(evidence).items["call-r0"]
    item.cost_nano, item.output_tokens = COST_NANO + 500, 9_000
    report = balance(evidence)
    assert report.figures["estimates_under_usd"] == "0.000000500"
    assert report.verdict is AuditVerdict.BALANCED
    figures = report.figures
    booked, invoiced = (
        (figures["orphaned_booked_usd"], figures["orphaned_invoiced_usd"])
        if "orphaned" in fields
        else (figures["failed_booked_usd"], figures["failed_invoiced_usd"])
    )
    assert (booked, invoiced) == ("0.001000500", "0.001001000")
    assert figures["orphaned_calls"] + figures["failed_calls"] == 1


@pytest.mark.parametrize(
    "fields", [{"orphaned": True, "error": "orphaned"}, {"estimated": True, "error": "x"}]
)
def test_an_estimate_without_an_answer_that_was_never_billed_is_no_fault(fields: dict[str, object]) -> None:
    """The worker, or the connection, may have died before the provider had the call; the sum is told."""
    evidence = good_evidence()
    change_call(evidence, "call-r0", **fields)
    del invoice_of(evidence).items["call-r0"]
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert (report.figures["estimates_not_invoiced"], report.figures["estimates_over_usd"]) == (
        1,
        "0.001000500",
    )


@pytest.mark.parametrize(
    ("fields", "billed", "code"),
    [
        # a failed call that says that it knows what it cost has to be right
        ({"error": "timeout"}, {"cost_nano": 1}, "calls_mispriced"),
        # an estimate that leaves out the prompt
        ({"error": "x", "estimated": True, "input_tokens": 0}, {"cost_nano": 1}, "calls_misestimated"),
        ({"error": "x", "estimated": True, "cost_nano": 0}, {"input_tokens": 20}, "calls_misestimated"),
        # more output than the provider has written
        ({"error": "x", "estimated": True, "output_tokens": 900}, {"cost_nano": 1}, "calls_misestimated"),
        # a whole answer of which half is booked
        ({"estimated": True}, {"cost_nano": 1, "output_tokens": 900}, "calls_misestimated"),
    ],
)
def test_an_estimate_that_the_invoice_does_not_bear_out_is_found(
    fields: dict[str, object], billed: dict[str, int], code: str
) -> None:
    """An estimate explains what it can, and no more."""
    evidence = good_evidence()
    change_call(evidence, "call-r0", **fields)
    for name, value in billed.items():
        setattr(invoice_of(evidence).items["call-r0"], name, value)
    assert found(evidence)[code].ids == ("call-r0",)
    assert balance(evidence).verdict is AuditVerdict.UNBALANCED


def test_an_answer_with_an_estimated_usage_has_to_be_on_the_invoice() -> None:
    """It was answered, so it was called."""
    evidence = good_evidence()
    change_call(evidence, "call-r0", estimated=True)
    del invoice_of(evidence).items["call-r0"]
    assert list(found(evidence)) == ["calls_not_invoiced"]


def test_a_billed_call_in_no_book_is_found() -> None:
    """Spend that nobody knows of."""
    evidence = good_evidence()
    invoice_of(evidence).items["ghost"] = BilledCall(cost_nano=42, at_ms=AT_MS)
    report = balance(evidence)
    assert report.verdict is AuditVerdict.UNBALANCED
    assert (report.figures["unbooked_calls"], report.figures["unbooked_usd"]) == (1, "0.000000042")
    assert broken_equations(report) == ["every billed call is booked, once"]


@pytest.mark.parametrize("at_ms", [SINCE_MS - 1])
def test_a_billed_call_from_before_the_window_is_not_counted(at_ms: int) -> None:
    """Its request is not audited."""
    evidence = good_evidence()
    invoice_of(evidence).items["ghost"] = BilledCall(cost_nano=42, at_ms=at_ms)
    assert balance(evidence).verdict is AuditVerdict.BALANCED


def test_a_billed_call_may_belong_to_a_request_that_is_under_way() -> None:
    """Its booking comes with the request's end."""
    evidence = good_evidence()
    evidence.kafka.requests["running"] = request(NOW_MS - 5_000)
    invoice_of(evidence).items["ghost"] = BilledCall(cost_nano=42, at_ms=NOW_MS - 4_000)
    report = balance(evidence)
    assert report.verdict is AuditVerdict.OPEN
    assert report.figures["unbooked_calls"] == 0


@pytest.mark.parametrize("where", ["journal", "log"])
def test_a_billed_call_that_a_journal_or_a_log_record_knows_is_on_its_way(where: str) -> None:
    """The evidence will have it as soon as the sink, or the request's next holder, comes to it."""
    evidence = good_evidence()
    invoice_of(evidence).items["ghost"] = BilledCall(cost_nano=42, at_ms=AT_MS)
    if where == "journal":
        evidence.redis.open_calls.add("ghost")
    else:
        log = evidence.kafka.logs["r0"]
        evidence.kafka.logs["late"] = msgspec.structs.replace(log, call_ids=("ghost",), accepted_at_ms=0)
    assert balance(evidence).verdict is AuditVerdict.OPEN


def test_calls_that_do_not_add_up_to_the_cost_are_found() -> None:
    """A request costs what its calls cost."""
    evidence = good_evidence()
    change_call(evidence, "call-r0", cost_nano=COST_NANO - 1)
    invoice_of(evidence).items["call-r0"].cost_nano -= 1
    report = balance(evidence)
    assert broken_equations(report) == ["calls = cost, per request"]
    assert found(evidence)["calls_differ_from_cost"].ids == ("r0",)


def test_a_free_call_that_is_missing_from_clickhouse_is_found() -> None:
    """Sums would not show it: the number of calls does."""
    evidence = good_evidence()
    log = evidence.kafka.logs["r0"]
    evidence.kafka.logs["r0"] = msgspec.structs.replace(log, call_ids=(*log.call_ids, "free"))
    assert list(found(evidence)) == ["calls_differ_from_cost"]


def test_a_call_in_shadow_is_not_charged() -> None:
    """It is booked on its own."""
    evidence = good_evidence()
    log = evidence.kafka.logs["r0"]
    evidence.kafka.logs["r0"] = msgspec.structs.replace(log, call_ids=(*log.call_ids, "shadow"))
    evidence.clickhouse.calls["shadow"] = CallRow(
        request_id="r0",
        cost_nano=9,
        error=None,
        finish_reason="stop",
        shadow=True,
        orphaned=False,
    )
    invoice_of(evidence).items["shadow"] = BilledCall(cost_nano=9, at_ms=AT_MS)
    assert balance(evidence).verdict is AuditVerdict.BALANCED


def test_a_call_that_is_booked_twice_is_found() -> None:
    """Two rows of llm_calls with one call id."""
    evidence = good_evidence()
    evidence.clickhouse.doubled.add("call-r0")
    assert broken_equations(balance(evidence)) == ["every billed call is booked, once"]

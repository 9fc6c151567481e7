"""The balance as a whole: properties that hold for any evidence."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ops.audit.balance import EQUATIONS, balance
from headrace.ops.audit.evidence import (
    BilledCall,
    DeadLetter,
    Evidence,
    LedgerCharge,
    TopicRead,
    nano_usd,
    usd_text,
)
from headrace.ops.audit.findings import MAX_IDS
from headrace.ops.audit.report import AuditVerdict
from tests.headrace.ops.audit.good_evidence import (
    AT_MS,
    NOW_MS,
    SINCE_MS,
    add_malformed,
    add_request,
    found,
    good_evidence,
    terminal,
)

STATES = ("answered", "cached", "degraded", "blocked", "failed", "cancelled", "open", "missing")


def lose_reply(evidence: Evidence, request_id: str) -> None:
    del evidence.kafka.terminals[request_id]


def contradict_reply(evidence: Evidence, request_id: str) -> None:
    evidence.kafka.terminals[request_id].append(msgspec.structs.replace(terminal(), digest=77))


def lose_charge(evidence: Evidence, request_id: str) -> None:
    del evidence.kafka.charges[request_id]


def charge_again(evidence: Evidence, request_id: str) -> None:
    evidence.kafka.charges[request_id].append(LedgerCharge(entry_id="again", replay=0, amount_nano=1))


def charge_more(evidence: Evidence, request_id: str) -> None:
    evidence.kafka.charges[request_id][0].amount_nano += 1


def lose_row(evidence: Evidence, request_id: str) -> None:
    del evidence.clickhouse.rows[request_id]


def change_row(evidence: Evidence, request_id: str) -> None:
    evidence.clickhouse.rows[request_id].cost_nano -= 1


def lose_call(evidence: Evidence, request_id: str) -> None:
    del evidence.clickhouse.calls[f"call-{request_id}"]


def bill_more(evidence: Evidence, request_id: str) -> None:
    assert evidence.invoice is not None
    evidence.invoice.items[f"call-{request_id}"].cost_nano += 1


def bill_unknown(evidence: Evidence, request_id: str) -> None:
    assert evidence.invoice is not None
    evidence.invoice.items[f"unknown-{request_id}"] = BilledCall(cost_nano=0, at_ms=AT_MS)


def forget_request(evidence: Evidence, request_id: str) -> None:
    del evidence.kafka.requests[request_id]


HARMS = (
    lose_reply,
    contradict_reply,
    lose_charge,
    charge_again,
    charge_more,
    lose_row,
    change_row,
    lose_call,
    bill_more,
    bill_unknown,
    forget_request,
)


@pytest.mark.parametrize(("number", "which"), [(1, 0), (7, 0), (7, 3), (7, 6)])
@pytest.mark.parametrize("harm", HARMS)
def test_any_single_harm_to_any_request_breaks_the_balance(
    harm: Callable[[Evidence, str], None], number: int, which: int
) -> None:
    """However many requests are fine, the one that is not is found, by its id or its call's."""
    evidence = good_evidence(number)
    victim = f"r{which}"
    assert balance(evidence).verdict is AuditVerdict.BALANCED
    harm(evidence, victim)
    report = balance(evidence)
    assert report.verdict is AuditVerdict.UNBALANCED
    assert any(not equation.holds for equation in report.equations)
    breaking = [finding for finding in report.findings if finding.breaks]
    assert all(which.endswith(victim) for finding in breaking for which in finding.ids)


@settings(max_examples=50)
@given(harms=st.lists(st.tuples(st.sampled_from(HARMS), st.integers(0, 7)), max_size=12))
def test_every_accepted_request_is_in_exactly_one_state(
    harms: list[tuple[Callable[[Evidence, str], None], int]],
) -> None:
    """Whatever is wrong with the evidence: accepted is the sum of the states."""
    evidence = good_evidence(8)
    for harm, which in harms:
        try:
            harm(evidence, f"r{which}")
        except KeyError:
            continue  # another harm has taken it already
    figures = balance(evidence).figures
    assert figures["accepted"] == sum(figures[state] for state in STATES)
    assert figures["accepted"] == len(evidence.kafka.requests)


@settings(max_examples=30)
@given(times=st.lists(st.integers(SINCE_MS - 100_000, NOW_MS), max_size=20))
def test_requests_are_counted_by_when_they_were_accepted(times: list[int]) -> None:
    """Those before the window are not, wherever their replies and rows fall."""
    evidence = good_evidence(0)
    for number, at_ms in enumerate(times):
        add_request(evidence, f"r{number}", at_ms=at_ms)
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert report.figures["accepted"] == sum(at_ms >= SINCE_MS for at_ms in times)


@given(nano=st.integers(-(10**18), 10**18))
def test_money_keeps_every_nano_dollar(nano: int) -> None:
    """From text to nano-dollars and back nothing is lost."""
    assert nano_usd(usd_text(nano)) == nano


def test_a_finding_names_the_first_ids_and_counts_all() -> None:
    """A thousand lost requests are one line."""
    evidence = good_evidence(50)
    evidence.kafka.terminals.clear()
    finding = found(evidence)["missing"]
    assert finding.count == 50
    assert finding.ids == tuple(f"r{number}" for number in range(MAX_IDS))


@pytest.mark.parametrize(("actions", "waiting"), [(set[str](), 1), ({"0:0"}, 0)])
def test_dead_letters_wait_until_an_operator_has_dealt_with_them(
    actions: set[str],
    waiting: int,
) -> None:
    """They do not break the balance: a dead letter is an end."""
    evidence = good_evidence()
    add_malformed(evidence, "broken")
    evidence.kafka.actions = actions
    findings = found(evidence)
    assert ("dead_letters_waiting" in findings) == bool(waiting)
    assert not any(finding.breaks for finding in findings.values())


def test_what_could_not_be_read_is_said() -> None:
    """Topics that are gone, records that are no events: nobody should take the audit for more than it is."""
    evidence = good_evidence()
    evidence.kafka.topics["gone"] = TopicRead(topic="gone", gone=True)
    evidence.kafka.undecodable["llm.ledger.v1"] = 4
    findings = found(evidence)
    assert findings["reply_topics_gone"].ids == ("gone",)
    assert findings["undecodable"].count == 4
    assert balance(evidence).verdict is AuditVerdict.BALANCED


def test_feedback_that_found_no_request_is_no_end_of_any() -> None:
    """Anybody may give it on any id: the request has its reply."""
    evidence = good_evidence()
    letter = DeadLetter(stage="feedback", record="llm.feedback.v1:0:1", request_id="r0", inside=True)
    evidence.kafka.dead_letters["0:0"] = letter
    report = balance(evidence)
    assert (report.verdict, report.figures["dead_lettered"]) == (AuditVerdict.BALANCED, 0)


def test_a_webhook_that_could_not_be_delivered_is_no_end_of_its_request() -> None:
    """The request has its reply: it does not count as dead-lettered, and nothing is out of balance."""
    evidence = good_evidence()
    letter = DeadLetter(
        stage="webhooks",
        record="llm.webhooks.v1:0:1",
        request_id="r0",
        inside=True,
    )
    evidence.kafka.dead_letters["0:0"] = letter
    report = balance(evidence)
    assert (report.verdict, report.figures["dead_lettered"]) == (AuditVerdict.BALANCED, 0)
    assert found(evidence)["dead_letters_waiting"].ids == ("0:0",)
    evidence.kafka.dead_letters["0:0"] = msgspec.structs.replace(letter, stage="llm")
    assert balance(evidence).figures["dead_lettered"] == 1


def test_the_docs_name_every_equation_and_what_breaks_it() -> None:
    """In the words and codes of the report."""
    text = (Path(__file__).parents[4] / "docs" / "guarantees.md").read_text()
    for name, broken_by in EQUATIONS.items():
        codes = ", ".join(f"`{kind.code}`" for kind in broken_by)
        assert f"| {name} | {codes} |" in text

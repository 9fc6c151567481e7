"""Requests against replies: what has ended, what may still end, what never will."""

import msgspec
import pytest

from headrace.ops.audit.balance import balance
from headrace.ops.audit.evidence import Evidence, RetryRecord, Submission
from headrace.ops.audit.replies import GRACE_MS
from headrace.ops.audit.report import AuditVerdict
from tests.headrace.ops.audit.good_evidence import (
    AT_MS,
    MINUTE_MS,
    NOW_MS,
    SINCE_MS,
    add_malformed,
    add_request,
    broken_equations,
    found,
    good_evidence,
    request,
    stand,
    terminal,
)


def test_good_evidence_balance() -> None:
    """Where every request has its reply, charge and row, nothing is found."""
    report = balance(good_evidence())
    assert report.verdict is AuditVerdict.BALANCED
    assert report.findings == ()
    assert (report.figures["accepted"], report.figures["answered"]) == (3, 3)
    assert all(equation.holds and equation.left == equation.right for equation in report.equations)


def test_an_empty_window_balances() -> None:
    """No requests are no imbalance."""
    assert balance(good_evidence(0)).verdict is AuditVerdict.BALANCED


def without_reply(at_ms: int = AT_MS) -> tuple[Evidence, str]:
    evidence = good_evidence()
    evidence.kafka.requests["lost"] = request(at_ms)
    return evidence, "lost"


def test_a_request_without_a_reply_is_missing() -> None:
    """Past its deadline and with idle stages, a request without a reply is lost."""
    evidence, request_id = without_reply()
    report = balance(evidence)
    assert report.verdict is AuditVerdict.UNBALANCED
    assert report.figures["missing"] == 1
    assert broken_equations(report) == ["accepted = ended + open"]
    assert found(evidence)["missing"].ids == (request_id,)


def test_a_request_is_open_until_its_deadline() -> None:
    """Within deadline and grace nothing is lost yet; just after it is."""
    still, _ = without_reply(NOW_MS - MINUTE_MS - GRACE_MS + 1)
    assert balance(still).verdict is AuditVerdict.OPEN
    assert balance(still).figures["open"] == 1
    over, _ = without_reply(NOW_MS - MINUTE_MS - GRACE_MS)
    assert balance(over).verdict is AuditVerdict.UNBALANCED


@pytest.mark.parametrize("group", ["headrace.guardrail", "headrace.llm", "headrace.cost"])
def test_a_request_is_open_while_a_stage_lags_behind_it(group: str) -> None:
    """A stage that still holds records older than the request's end may hold those of the request."""
    evidence, _ = without_reply()

    def lagging(oldest_ms: int) -> None:
        evidence.kafka.stages = tuple(
            stand(each.group, each.topic, oldest_ms=oldest_ms) if each.group == group else each
            for each in evidence.kafka.stages
        )

    lagging(AT_MS + 10)
    assert balance(evidence).verdict is AuditVerdict.OPEN
    lagging(AT_MS + MINUTE_MS + GRACE_MS)
    assert balance(evidence).verdict is AuditVerdict.UNBALANCED, (
        "what is newer than its end is not the request's"
    )


def test_a_request_is_open_while_the_guardrail_has_not_come_to_its_record() -> None:
    """However long ago a request was written: unread, it is not lost."""
    evidence, request_id = without_reply()
    evidence.kafka.requests[request_id].submissions = {
        b"c": Submission(partition=0, offset=1_000, at_ms=AT_MS)
    }
    assert balance(evidence).figures["open"] == 1


def test_each_kind_of_request_is_read_by_a_stage_of_its_own() -> None:
    """The embeddings stage has to come to a record on its topic; how far the guardrail is says nothing."""
    evidence, request_id = without_reply()
    unread = Submission(topic="llm.embeddings.v1", partition=0, offset=5, at_ms=AT_MS)
    evidence.kafka.requests[request_id].submissions = {b"c": unread}
    assert balance(evidence).figures["missing"] == 1
    evidence.kafka.stages = tuple(
        stand(each.group, each.topic, done=5) if each.group == "headrace.embeddings" else each
        for each in evidence.kafka.stages
    )
    assert balance(evidence).figures["open"] == 1


@pytest.mark.parametrize(("done", "missing"), [(5, 0), (6, 1)])
def test_a_request_is_open_while_it_waits_for_a_retry(done: int, missing: int) -> None:
    """Put aside, a request is under way until the retry's reader has finished its copy."""
    evidence, request_id = without_reply()
    evidence.kafka.retries = [RetryRecord(request_id=request_id, not_before_ms=0, partition=0, offset=5)]
    evidence.kafka.relay = stand("headrace.retries", "llm.retries.v1", done=done)
    figures = balance(evidence).figures
    assert (figures["missing"], figures["retries_waiting"]) == (missing, 1 - missing)


def test_a_request_that_was_brought_back_is_open_while_a_stage_has_work() -> None:
    """Its copy is younger than its deadline: how old a stage's oldest record is says nothing about it."""
    evidence, request_id = without_reply()
    evidence.kafka.retries = [RetryRecord(request_id=request_id, not_before_ms=0, partition=0, offset=5)]
    evidence.kafka.relay = stand("headrace.retries", "llm.retries.v1")
    assert balance(evidence).figures["missing"] == 1
    cost = evidence.kafka.stages[-1]
    evidence.kafka.stages = (*evidence.kafka.stages[:-1], stand(cost.group, cost.topic, oldest_ms=NOW_MS - 1))
    assert balance(evidence).figures["open"] == 1


def test_a_replayed_request_needs_the_reply_of_its_last_replay() -> None:
    """The reply of the first life does not count for the second."""
    evidence = good_evidence()
    evidence.kafka.requests["r0"].replay = 1
    assert balance(evidence).figures["missing"] == 1
    again = msgspec.structs.replace(terminal(status="failed"), replay=1)
    evidence.kafka.terminals["r0"].append(again)
    report = balance(evidence)
    assert (report.figures["missing"], report.figures["failed"]) == (0, 1)
    assert "contradictory_replies" not in found(evidence)


def test_a_reply_sent_again_as_it_was_is_no_contradiction() -> None:
    """After a crash the same reply may come twice; its reader recognises it."""
    evidence = good_evidence()
    evidence.kafka.terminals["r0"][0].times = 3
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert report.figures["resent_replies"] == 2


def test_a_different_reply_to_the_same_submission_is_a_contradiction() -> None:
    """Two terminal replies that say different things to one reader break the balance."""
    evidence = good_evidence()
    evidence.kafka.terminals["r1"].append(msgspec.structs.replace(terminal(), digest=99))
    report = balance(evidence)
    assert report.verdict is AuditVerdict.UNBALANCED
    assert broken_equations(report) == ["one terminal reply per request"]
    assert found(evidence)["contradictory_replies"].ids == ("r1",)


def test_terminal_replies_to_two_submissions_mean_that_the_work_was_done_twice() -> None:
    """The second submission should have got a repeat."""
    evidence = good_evidence()
    evidence.kafka.terminals["r1"].append(terminal(correlation=b"other"))
    assert list(found(evidence)) == ["answered_twice"]
    assert balance(evidence).verdict is AuditVerdict.UNBALANCED


def test_a_repeated_submission_needs_an_answer_of_its_own() -> None:
    """Each correlation id waits for its own reply: a repeat, or a refusal."""
    evidence = good_evidence()
    evidence.kafka.requests["r2"].submissions[b"again"] = Submission(partition=0, offset=9, at_ms=AT_MS)
    report = balance(evidence)
    assert report.figures["unanswered_submissions"] == 1
    assert broken_equations(report) == ["submissions = submissions answered"]
    evidence.kafka.answers["r2"] = {b"again"}
    assert balance(evidence).verdict is AuditVerdict.BALANCED


def test_a_repeated_submission_that_was_just_made_is_waited_for() -> None:
    """Its answer may be on the way."""
    evidence = good_evidence()
    evidence.kafka.requests["r2"].submissions[b"again"] = Submission(partition=0, offset=9, at_ms=NOW_MS - 1)
    assert balance(evidence).verdict is AuditVerdict.OPEN


def test_a_repeat_of_a_request_from_before_the_window_is_no_acceptance() -> None:
    """Its own reply was sent before; the repeat is the answer to this submission."""
    evidence = good_evidence()
    evidence.kafka.requests["old"] = request(correlation=b"again")
    evidence.kafka.answers["old"] = {b"again"}
    evidence.kafka.repeated["old"] = SINCE_MS - 1
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert report.figures["accepted"] == 3


def test_a_repeat_does_not_stand_in_for_a_terminal_reply() -> None:
    """Accepted inside the window, a request with nothing but a repeat has lost its own reply."""
    evidence = good_evidence()
    del evidence.kafka.terminals["r0"]
    evidence.kafka.answers["r0"] = {b"c"}
    evidence.kafka.repeated["r0"] = AT_MS
    assert found(evidence)["missing"].ids == ("r0",)


def test_a_conflict_with_a_request_from_before_the_window_is_no_acceptance() -> None:
    """A submission that was refused for its id is not accepted, whoever else has the id."""
    evidence = good_evidence()
    evidence.kafka.requests["taken"] = request(correlation=b"mine")
    evidence.kafka.answers["taken"] = {b"mine"}
    assert balance(evidence).figures["accepted"] == 3


def test_a_request_before_the_window_with_its_reply_inside_is_not_counted() -> None:
    """The window is about when a request was accepted."""
    evidence = good_evidence()
    add_request(evidence, "early", at_ms=SINCE_MS - 1)
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert report.figures["accepted"] == 3


def test_a_malformed_record_with_its_dead_letter_and_reply_balances() -> None:
    """It is accepted as malformed only: what waits is the dead letter, for an operator."""
    evidence = good_evidence()
    add_malformed(evidence, "broken")
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert (report.figures["malformed"], report.figures["accepted"]) == (1, 3)
    assert list(found(evidence)) == ["dead_letters_waiting"]


def test_a_malformed_record_with_the_id_of_a_good_request_takes_nothing_from_it() -> None:
    """The refusal answers the malformed record; it is no second reply to the request."""
    evidence = good_evidence()
    add_malformed(evidence, "r0")
    report = balance(evidence)
    assert report.verdict is AuditVerdict.BALANCED
    assert report.figures["answered"] == 3


def test_a_malformed_record_without_a_dead_letter_is_lost() -> None:
    """Its bytes must be kept."""
    evidence = good_evidence()
    address = add_malformed(evidence, "broken")
    evidence.kafka.dead_letters.clear()
    assert found(evidence)["malformed_unburied"].ids == (address,)
    assert balance(evidence).verdict is AuditVerdict.UNBALANCED


def test_the_sender_of_a_malformed_record_is_told() -> None:
    """Where an id can be read there must be a failed reply; where none can, there need not."""
    evidence = good_evidence()
    address = add_malformed(evidence, "broken")
    evidence.kafka.terminals["broken"].clear()
    assert found(evidence)["malformed_untold"].ids == ("broken",)
    evidence.kafka.malformed[address] = msgspec.structs.replace(
        evidence.kafka.malformed[address], request_id=None
    )
    assert "malformed_untold" not in found(evidence)

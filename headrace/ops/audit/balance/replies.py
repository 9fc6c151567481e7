"""Requests against replies: every accepted request has one terminal reply, every submission its answer."""

from collections import Counter

import msgspec

from headrace.ops.audit.evidence.records import (
    AcceptedRequest,
    Evidence,
    KafkaEvidence,
    MalformedRecord,
    TerminalReply,
)
from headrace.ops.audit.findings import FindingKind, FindingTally
from headrace.ops.audit.work_in_progress import WorkInProgress


class RequestOutcomes(msgspec.Struct, kw_only=True):
    """The requests of the window by what became of them.

    `terminals`: the terminal reply of the last replay, by request. `resent`: replies sent again as they were.
    `malformed`: records that were no requests.
    """

    terminals: dict[str, TerminalReply] = {}
    open: list[str] = []
    missing: list[str] = []
    by_status: Counter[str] = msgspec.field(default_factory=Counter)
    submissions: int = 0
    resent: int = 0
    malformed: int = 0
    retries_waiting: int = 0
    dead_lettered: int = 0

    @property
    def accepted(self) -> int:
        """How many requests were accepted."""
        return len(self.terminals) + len(self.open) + len(self.missing)


def undecided(kafka: KafkaEvidence, *, since_ms: int) -> list[str]:
    """Return the requests without a terminal reply to (the last replay of) them, whenever they came."""
    malformed = _malformed_submissions(kafka)
    return [
        request_id
        for request_id, request in kafka.requests.items()
        if _terminal(kafka, malformed, request_id, request) is None
        and not _was_accepted_before(kafka, request_id, request, since_ms)
    ]


def decide(evidence: Evidence, progress: WorkInProgress, tally: FindingTally) -> RequestOutcomes:
    """Return what became of the requests of the window, and note what is wrong with their replies."""
    kafka, window = evidence.kafka, evidence.window
    outcomes = RequestOutcomes(retries_waiting=progress.retries_waiting)
    malformed = _malformed_submissions(kafka)
    for request_id, request in kafka.requests.items():
        terminal = _terminal(kafka, malformed, request_id, request)
        if request.inside and not (
            terminal is None and _was_accepted_before(kafka, request_id, request, window.since_ms)
        ):
            if terminal is not None:
                outcomes.terminals[request_id] = terminal
                outcomes.by_status[terminal.status] += 1
            elif progress.may_answer(request_id, request):
                outcomes.open.append(request_id)
                tally.add(FindingKind.OPEN, request_id)
            else:
                outcomes.missing.append(request_id)
                tally.add(FindingKind.MISSING, request_id)
            outcomes.resent += _check_replies(kafka, malformed, tally, request_id)
        outcomes.submissions += sum(window.contains(each.at_ms) for each in request.submissions.values())
        if terminal is not None:
            _check_submissions(evidence, progress, tally, request_id, request)
    dead = {letter.record for letter in kafka.dead_letters.values()}
    for record in kafka.malformed.values():
        if record.inside:
            outcomes.malformed += 1
            _check_malformed(kafka, progress, tally, record, dead_lettered=record.address in dead)
    return outcomes


def _check_replies(
    kafka: KafkaEvidence, malformed: set[tuple[str, bytes]], tally: FindingTally, request_id: str
) -> int:
    """Note contradictions among the terminal replies of a request; return how many were only sent again."""
    replies = _replies_of(kafka, malformed, request_id)
    readers = Counter((each.correlation, each.replay) for each in replies)
    contradictory = sum(number - 1 for number in readers.values())
    if contradictory:
        tally.add(FindingKind.CONTRADICTORY_REPLIES, request_id, times=contradictory)
    by_replay = Counter(replay for _, replay in readers)
    if any(number > 1 for number in by_replay.values()):
        tally.add(FindingKind.ANSWERED_TWICE, request_id)
    return sum(each.times - 1 for each in replies)


def _check_submissions(
    evidence: Evidence,
    progress: WorkInProgress,
    tally: FindingTally,
    request_id: str,
    request: AcceptedRequest,
) -> None:
    """Note submissions that got no answer of their own, though the request has one."""
    answered = {each.correlation for each in evidence.kafka.terminals.get(request_id, ())}
    answered |= evidence.kafka.answers.get(request_id, set())
    for correlation, submission in request.submissions.items():
        if correlation in answered or not evidence.window.contains(submission.at_ms):
            continue
        may_come = progress.may_tell(submission)
        tally.add(FindingKind.WAITING if may_come else FindingKind.UNANSWERED_SUBMISSIONS, request_id)


def _check_malformed(
    kafka: KafkaEvidence,
    progress: WorkInProgress,
    tally: FindingTally,
    record: MalformedRecord,
    *,
    dead_lettered: bool,
) -> None:
    # Under the id of a request that was accepted nobody is told: that one has a reply of its own.
    told = (
        record.request_id is None
        or record.request_id in kafka.requests
        or any(
            each.correlation == record.correlation and each.status == "failed"
            for each in kafka.terminals.get(record.request_id, ())
        )
    )
    if not (dead_lettered and told) and progress.may_tell(record.submission):
        tally.add(FindingKind.WAITING, record.request_id or record.address)
        return
    if not dead_lettered:
        tally.add(FindingKind.MALFORMED_UNBURIED, record.address)
    if not told:
        tally.add(FindingKind.MALFORMED_UNTOLD, record.request_id or record.address)


def _terminal(
    kafka: KafkaEvidence, malformed: set[tuple[str, bytes]], request_id: str, request: AcceptedRequest
) -> TerminalReply | None:
    """Return the first terminal reply of the request's last replay, if it has come."""
    replies = _replies_of(kafka, malformed, request_id)
    last = max((each.replay for each in replies), default=-1)
    if last < request.replay:
        return None
    return min((each for each in replies if each.replay == last), key=lambda each: each.at_ms)


def _replies_of(
    kafka: KafkaEvidence, malformed: set[tuple[str, bytes]], request_id: str
) -> list[TerminalReply]:
    """Return the terminal replies of a request without those that answer malformed records with its id."""
    return [
        each
        for each in kafka.terminals.get(request_id, ())
        if each.accepted_at_ms is not None or (request_id, each.correlation) not in malformed
    ]


def _malformed_submissions(kafka: KafkaEvidence) -> set[tuple[str, bytes]]:
    """Return the malformed records with a request id: that id, and their correlation id."""
    found = kafka.malformed.values()
    return {(each.request_id, each.correlation) for each in found if each.request_id is not None}


def _was_accepted_before(
    kafka: KafkaEvidence, request_id: str, request: AcceptedRequest, since_ms: int
) -> bool:
    """Whether all that was read of a request are repeats of one that was accepted before the window.

    Each of its submissions then got the stored reply of an earlier time, or was refused for a conflict with
    it. Where the stored reply is of this window, its own terminal reply has to be there.
    """
    answered = kafka.answers.get(request_id, set())
    if not all(correlation in answered for correlation in request.submissions):
        return False
    return kafka.repeated.get(request_id, 0) < since_ms

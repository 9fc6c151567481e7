"""Requests against replies: every accepted request has one terminal reply, every submission its answer.

A request that is still under way is open, not lost.
"""

from collections import Counter

import msgspec

from headrace.ops.audit.evidence import (
    AcceptedRequest,
    Evidence,
    KafkaEvidence,
    LogRecord,
    MalformedRecord,
    Submission,
    TerminalReply,
)
from headrace.ops.audit.findings import FindingKind, FindingTally
from streams.pipeline import COST, STAGES

#: What the end of a request may take beyond its deadline: it is noticed, settled, and sent.
GRACE_MS = 30_000

#: The group that takes in the requests of each topic.
_GROUP_OF_TOPIC = {spec.source.name: spec.group for spec in STAGES}


class RequestTotals(msgspec.Struct, kw_only=True):
    """The requests of the window: what became of them, and what they have cost by ledger and ClickHouse."""

    terminals: dict[str, TerminalReply] = {}  # the terminal reply of the last replay, by request
    open: list[str] = []
    missing: list[str] = []
    by_status: Counter[str] = msgspec.field(default_factory=Counter)
    submissions: int = 0
    resent_replies: int = 0  # as they were
    malformed: int = 0  # records that were no requests
    retries_waiting: int = 0
    ledger_nano: int = 0
    clickhouse_nano: int = 0
    compared_ledger_nano: int = 0
    compared_clickhouse_nano: int = 0
    resent_charges: int = 0  # ledger entries, as they were
    rows: int = 0
    rows_waiting: int = 0  # requests whose row is still on its way; they are in neither `compared` sum
    whole: set[str] = set()  # requests with log record and row

    @property
    def accepted(self) -> int:
        """How many requests were accepted."""
        return len(self.terminals) + len(self.open) + len(self.missing)


class WorkInProgress:
    """Answers from the positions of the consumer groups, as they were before the topics were read."""

    def __init__(self, evidence: Evidence) -> None:
        kafka = evidence.kafka
        self._now_ms = evidence.taken_at_ms
        self._groups = {each.group: each for each in kafka.stages}
        self._sink = kafka.sink
        unfinished = [each.oldest_ms for each in kafka.stages if each.oldest_ms is not None]
        #: Every stage has finished what was written before this time.
        self._finished_ms = min(unfinished, default=self._now_ms)
        waiting = [
            retry
            for retry in kafka.retries
            if not (
                kafka.relay.has_finished(retry.partition, retry.offset)
                if kafka.relay
                else retry.not_before_ms <= self._now_ms
            )
        ]
        self.retries_waiting = len(waiting)
        self._retried = {retry.request_id for retry in waiting}
        # The relay has brought these back: a stage that has anything to do may have theirs.
        self._brought_back = {retry.request_id for retry in kafka.retries} if unfinished else set()

    def may_answer(self, request_id: str, request: AcceptedRequest) -> bool:
        """Whether a reply may still come: until the deadline, and while a stage has an older record."""
        over_ms = request.deadline_ms + GRACE_MS
        return (
            over_ms > min(self._now_ms, self._finished_ms)
            or request_id in self._retried
            or request_id in self._brought_back
            or not self._is_taken_in(request.first)
        )

    def may_tell(self, submission: Submission) -> bool:
        """Whether no stage may have come to this submission, or what it sent is still on its way."""
        return self._now_ms < submission.at_ms + GRACE_MS or not self._is_taken_in(submission)

    def has_settled(self, replied_at_ms: int) -> bool:
        """Whether everything that the cost stage sends with a reply of this time is sent."""
        cost = self._groups.get(COST.group)
        return cost is None or cost.oldest_ms is None or cost.oldest_ms > replied_at_ms

    def has_row(self, log: LogRecord) -> bool:
        """Whether the sink has committed the log record: its rows were in ClickHouse before that."""
        return self._sink is not None and self._sink.has_finished(log.partition, log.offset)

    def _is_taken_in(self, submission: Submission) -> bool:
        found = self._groups.get(_GROUP_OF_TOPIC[submission.topic])
        return found is not None and found.has_finished(submission.partition, submission.offset)


class _TerminalReplies:
    """Finds the terminal replies of requests, without those to malformed records that bear the same id."""

    def __init__(self, kafka: KafkaEvidence, *, since_ms: int) -> None:
        self._kafka = kafka
        self._since_ms = since_ms
        self._malformed = {(each.request_id, each.correlation) for each in kafka.malformed.values()}

    def all_of(self, request_id: str) -> list[TerminalReply]:
        return [
            each
            for each in self._kafka.terminals.get(request_id, ())
            if each.accepted_at_ms is not None or (request_id, each.correlation) not in self._malformed
        ]

    def last_of(self, request_id: str, request: AcceptedRequest) -> TerminalReply | None:
        """Return the first terminal reply of the request's last replay, if it has come."""
        replies = self.all_of(request_id)
        last = max((each.replay for each in replies), default=-1)
        if last < request.replay:
            return None
        return min((each for each in replies if each.replay == last), key=lambda each: each.at_ms)

    def belongs_to_earlier(self, request_id: str, request: AcceptedRequest) -> bool:
        """Whether all that was read of a request are repeats of one that was accepted before the window.

        Each of its submissions then got the stored reply of an earlier time, or was refused for a conflict
        with it. Where the stored reply is of this window, its own terminal reply has to be there.
        """
        answered = self._kafka.answers.get(request_id, set())
        if not all(correlation in answered for correlation in request.submissions):
            return False
        return self._kafka.repeated.get(request_id, 0) < self._since_ms


def undecided(kafka: KafkaEvidence, *, since_ms: int) -> list[str]:
    """Return the requests without a terminal reply to (the last replay of) them, whenever they came."""
    replies = _TerminalReplies(kafka, since_ms=since_ms)
    return [
        request_id
        for request_id, request in kafka.requests.items()
        if replies.last_of(request_id, request) is None
        and not replies.belongs_to_earlier(request_id, request)
    ]


def decide(evidence: Evidence, progress: WorkInProgress, tally: FindingTally) -> RequestTotals:
    """Return what became of the requests of the window, and note what is wrong with their replies."""
    kafka, window = evidence.kafka, evidence.window
    totals = RequestTotals(retries_waiting=progress.retries_waiting)
    replies = _TerminalReplies(kafka, since_ms=window.since_ms)
    for request_id, request in kafka.requests.items():
        terminal = replies.last_of(request_id, request)
        if request.inside and (terminal is not None or not replies.belongs_to_earlier(request_id, request)):
            if terminal is not None:
                totals.terminals[request_id] = terminal
                totals.by_status[terminal.status] += 1
            elif progress.may_answer(request_id, request):
                totals.open.append(request_id)
                tally.add(FindingKind.OPEN, request_id)
            else:
                totals.missing.append(request_id)
                tally.add(FindingKind.MISSING, request_id)
            totals.resent_replies += _check_replies(replies.all_of(request_id), tally, request_id)
        totals.submissions += sum(window.contains(each.at_ms) for each in request.submissions.values())
        if terminal is not None:
            _check_submissions(evidence, progress, tally, request_id, request)
    dead = {letter.record for letter in kafka.dead_letters.values()}
    for address, record in kafka.malformed.items():
        if record.inside:
            totals.malformed += 1
            _check_malformed(kafka, progress, tally, address, record, dead_lettered=address in dead)
    return totals


def _check_replies(replies: list[TerminalReply], tally: FindingTally, request_id: str) -> int:
    """Note contradictions among the terminal replies of a request; return how many were only sent again."""
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
    address: str,
    record: MalformedRecord,
    *,
    dead_lettered: bool,
) -> None:
    # No refusal is sent under the id of an accepted request: that request has a reply of its own.
    told = (
        record.request_id is None
        or record.request_id in kafka.requests
        or any(
            each.correlation == record.correlation and each.status == "failed"
            for each in kafka.terminals.get(record.request_id, ())
        )
    )
    if not (dead_lettered and told) and progress.may_tell(record.submission):
        tally.add(FindingKind.WAITING, record.request_id or address)
        return
    if not dead_lettered:
        tally.add(FindingKind.MALFORMED_UNBURIED, address)
    if not told:
        tally.add(FindingKind.MALFORMED_UNTOLD, record.request_id or address)

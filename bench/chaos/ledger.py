"""What the senders sent and what they got: the check that owes nothing to Headrace's own books. No I/O here.

A submission is *accepted* once the broker has acknowledged its record, or ingest has answered with
anything but a 503. Each accepted submission must get exactly one reply as its reader sees it: a Kafka reader
recognises a repeat by `ce_id`, correlation id and replay number; an HTTP client reads one response. All
replies to one request must say the same.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from bench.chaos.submissions import STREAMED, Answer, Channel, Kind, SeenReply, Submission


class Finding(NamedTuple):
    """Something that must not be."""

    what: str
    submission: str
    details: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the senders' own check says."""

    sent: int
    accepted: int
    by_kind: dict[str, int]
    by_channel: dict[str, int]
    by_status: dict[str, int]
    reply_records: int
    repeated_records: int
    findings: tuple[Finding, ...]

    @property
    def balanced(self) -> bool:
        """Whether every accepted submission has its one reply."""
        return not self.findings


_ANSWERS = frozenset({"answered", "cached", "degraded", STREAMED})
_ALLOWED: dict[Kind, frozenset[str]] = {
    Kind.BLOCKED: frozenset({"blocked"}),
    Kind.NOT_JSON: frozenset({"failed:invalid_json"}),
    Kind.UNFIT: frozenset({"failed:invalid_request"}),
    # While Redis is away nothing is known of a request, and its deadline passes meanwhile.
    Kind.SHORT: _ANSWERS | {"failed:deadline_exceeded", "failed:dependency_unavailable"},
    Kind.CANCELLED: _ANSWERS | {"cancelled"},
}
_CONFLICT = "failed:idempotency_conflict"


class Ledger:
    """Collects submissions, acceptances and answers, and compares them at the end.

    Args:
        reply_topic: which the Kafka submissions name: what is sent elsewhere they do not see.
    """

    def __init__(self, reply_topic: str) -> None:
        self._reply_topic = reply_topic
        self.submissions: dict[str, Submission] = {}
        self._places: set[str] = set()
        self._replies: dict[str, list[SeenReply]] = defaultdict(list)
        self._by_correlation: dict[str, list[SeenReply]] = defaultdict(list)
        self._responses: dict[str, list[Answer]] = defaultdict(list)
        self._dead: set[str] = set()
        self._strayed: list[Finding] = []
        self._waiting: set[str] = set()

    @property
    def in_flight(self) -> int:
        """How many submissions wait for their answer."""
        return len(self._waiting)

    def sent(self, submission: Submission) -> None:
        """Note that something is about to be sent."""
        self.submissions[submission.number] = submission
        if submission.waits:
            self._waiting.add(submission.number)

    def accepted(self, number: str, *, at: float, partition: int | None = None) -> None:
        """Note that Headrace has taken it."""
        submission = self.submissions[number]
        submission.accepted_at = submission.accepted_at or at
        submission.partition = partition

    def replied(self, reply: SeenReply, *, at: float) -> Submission | None:
        """Note a reply record; the same record may be noted twice. Return whose it is, the first time."""
        if reply.place in self._places:
            return None
        self._places.add(reply.place)
        self._replies[reply.request_id].append(reply)
        submission = self.submissions.get(reply.correlation or "")
        if submission is None:
            return None
        if reply.topic != self._reply_topic:
            self._strayed.append(_finding("reply on another topic", submission, _words(reply.answer)))
            return None
        self._by_correlation[submission.number].append(reply)
        if submission.request_id is None:
            submission.request_id = reply.request_id
        return self._answered(submission, at)

    def responded(self, number: str, answer: Answer, *, request_id: str | None, at: float) -> None:
        """Note what an HTTP client read in the end."""
        submission = self.submissions[number]
        submission.request_id = request_id or submission.request_id
        self._responses[number].append(answer)
        self._answered(submission, at)

    def buried(self, correlation: str) -> None:
        """Note a dead letter."""
        self._dead.add(correlation)

    def given_up(self, number: str) -> None:
        """Note that its sender was never told whether it was accepted."""
        self._waiting.discard(number)

    def unanswered(self) -> list[Submission]:
        """Return what is still waited for."""
        return [self.submissions[number] for number in self._waiting]

    def verdict(self) -> Verdict:
        """Compare what was accepted with what came back."""
        accepted = [each for each in self.submissions.values() if each.accepted_at is not None]
        findings = list(self._strayed)
        for submission in accepted:
            findings += self._check(submission)
        findings += self._contradictions()
        findings += self._conflicts(accepted)
        records = [reply for replies in self._replies.values() for reply in replies]
        return Verdict(
            sent=len(self.submissions),
            accepted=len(accepted),
            by_kind=dict(Counter(each.kind.value for each in accepted)),
            by_channel=dict(Counter(each.channel.value for each in accepted)),
            by_status=dict(Counter(each.answer.status for each in _distinct(records))),
            reply_records=len(records),
            repeated_records=len(records) - len(list(_distinct(records))),
            findings=tuple(findings),
        )

    def _answered(self, submission: Submission, at: float) -> Submission | None:
        if submission.answered_at is not None:
            return None
        submission.answered_at = at
        self._waiting.discard(submission.number)
        return submission

    def _check(self, submission: Submission) -> list[Finding]:
        answers = self._answers_of(submission)
        found = []
        if (
            submission.kind in (Kind.GARBAGE, Kind.NOT_JSON, Kind.UNFIT)
            and submission.channel is Channel.KAFKA
        ):
            if submission.number not in self._dead:
                found.append(_finding("no dead letter", submission, ""))
            if submission.kind is Kind.GARBAGE:
                return found
        if not answers:
            return [*found, _finding("no reply", submission, "")]
        if len(answers) > 1:
            found.append(_finding("more than one reply", submission, str(answers)))
        allowed = _allowed(submission)
        found += [
            _finding("unexpected reply", submission, _words(answer))
            for answer in answers
            if not {answer.status, _words(answer)} & allowed
        ]
        return found

    def _answers_of(self, submission: Submission) -> list[Answer]:
        """Return the replies to a submission as its reader sees them."""
        if submission.channel is not Channel.KAFKA:
            return self._responses[submission.number]
        return [reply.answer for reply in _distinct(self._by_correlation[submission.number])]

    def _conflicts(self, accepted: Iterable[Submission]) -> list[Finding]:
        """Return the ids that were given to several bodies, and not refused to all but one of them.

        Which one is refused is open over Kafka: a record that is put aside is overtaken by the next.
        """
        refusals: dict[str, list[bool]] = defaultdict(list)
        for submission in accepted:
            if submission.kind is Kind.CONFLICT and submission.channel is Channel.KAFKA:
                refused = any(_words(each) == _CONFLICT for each in self._answers_of(submission))
                refusals[submission.request_id or ""].append(refused)
        return [
            Finding("other body not refused once", request_id, str(refused))
            for request_id, refused in refusals.items()
            if sum(refused) != len(refused) - 1
        ]

    def _contradictions(self) -> list[Finding]:
        """Return the requests of which two replies say different things."""
        said: dict[str, set[Answer]] = defaultdict(set)
        for request_id, replies in self._replies.items():
            said[request_id] |= {reply.answer for reply in replies}
        for number, answers in self._responses.items():
            known = self.submissions[number].request_id
            if known is not None:
                said[known] |= set(answers)
        return [
            Finding("contradiction", request_id, "; ".join(sorted(map(str, answers))))
            for request_id, answers in said.items()
            if _differ({each for each in answers if _words(each) != _CONFLICT})
        ]


def _differ(answers: set[Answer]) -> bool:
    """Whether two answers disagree; of a streamed one only the text is known."""
    whole = {each for each in answers if each.status != STREAMED}
    return len(whole) > 1 or len({each.content for each in answers}) > 1


def _distinct(replies: Iterable[SeenReply]) -> Iterable[SeenReply]:
    """Drop the repeats that a reader recognises."""
    return {(reply.ce_id, reply.correlation, reply.replay): reply for reply in replies}.values()


def _allowed(submission: Submission) -> frozenset[str]:
    if submission.kind is Kind.CONFLICT and submission.channel is Channel.KAFKA:
        return _ANSWERS | {_CONFLICT}
    if submission.kind is Kind.CONFLICT and not submission.first:
        return frozenset({_CONFLICT})
    return _ALLOWED.get(submission.kind, _ANSWERS)


def _words(answer: Answer) -> str:
    return f"{answer.status}:{answer.code}" if answer.code else answer.status


def _finding(what: str, submission: Submission, details: str) -> Finding:
    about = f"{submission.kind.value} over {submission.channel.value}, {submission.request_id}"
    return Finding(what, f"{submission.number} ({about})", details)

"""Requests against replies: every accepted request has one terminal reply, every submission its answer."""

from collections import Counter

import msgspec

from headrace.ops.audit.evidence.records import Books, KafkaBooks, Malformed, Request, Terminal
from headrace.ops.audit.findings import Code, Tally
from headrace.ops.audit.progress import Progress


class Decided(msgspec.Struct, kw_only=True):
    """The requests of the window by what became of them.

    Attributes:
        terminals: the terminal reply that counts, by request: of the last replay.
        open: those that may still get theirs.
        missing: those that will not.
        by_status: how many ended how.
        submissions: how many records submitted them, repeats included.
        resent: how many replies were sent again as they were.
        malformed: how many records were no requests.
    """

    terminals: dict[str, Terminal] = {}
    open: list[str] = []
    missing: list[str] = []
    by_status: Counter[str] = msgspec.field(default_factory=Counter)
    submissions: int = 0
    resent: int = 0
    malformed: int = 0

    @property
    def accepted(self) -> int:
        """How many requests were accepted."""
        return len(self.terminals) + len(self.open) + len(self.missing)


def undecided(kafka: KafkaBooks, *, since_ms: int) -> list[str]:
    """Return the requests without a terminal reply to (the last replay of) them, whenever they came."""
    broken = _malformed_replies(kafka)
    return [
        request_id
        for request_id, request in kafka.requests.items()
        if _terminal(kafka, broken, request_id, request) is None
        and not _was_accepted_before(kafka, request_id, request, since_ms)
    ]


def decide(books: Books, progress: Progress, tally: Tally) -> Decided:
    """Return what became of the requests of the window, and note what is wrong with their replies."""
    kafka, decided = books.kafka, Decided()
    broken = _malformed_replies(kafka)
    for request_id, request in kafka.requests.items():
        terminal = _terminal(kafka, broken, request_id, request)
        if request.inside and not (
            terminal is None and _was_accepted_before(kafka, request_id, request, books.window.since_ms)
        ):
            if terminal is not None:
                decided.terminals[request_id] = terminal
                decided.by_status[terminal.status] += 1
            elif progress.may_answer(request_id, request):
                decided.open.append(request_id)
                tally.add(Code.OPEN, request_id)
            else:
                decided.missing.append(request_id)
                tally.add(Code.MISSING, request_id)
            decided.resent += _check_replies(kafka, broken, tally, request_id)
        decided.submissions += sum(books.window.holds(each.at_ms) for each in request.submissions.values())
        if terminal is not None:
            _check_submissions(books, progress, tally, request_id, request)
    buried = {letter.record for letter in kafka.dead_letters.values()}
    for malformed in kafka.malformed.values():
        if malformed.inside:
            decided.malformed += 1
            _check_malformed(kafka, progress, tally, malformed, buried=malformed.address in buried)
    return decided


def _check_replies(kafka: KafkaBooks, broken: set[tuple[str, bytes]], tally: Tally, request_id: str) -> int:
    """Note contradictions among the terminal replies of a request; return how many were only sent again."""
    replies = _of_the_request(kafka, broken, request_id)
    readers = Counter((each.correlation, each.replay) for each in replies)
    contradictory = sum(number - 1 for number in readers.values())
    if contradictory:
        tally.add(Code.CONTRADICTORY, request_id, times=contradictory)
    lives = Counter(replay for _, replay in readers)
    if any(number > 1 for number in lives.values()):
        tally.add(Code.ANSWERED_TWICE, request_id)
    return sum(each.times - 1 for each in replies)


def _check_submissions(
    books: Books, progress: Progress, tally: Tally, request_id: str, request: Request
) -> None:
    """Note submissions that got no answer of their own, though the request has one."""
    answered = {each.correlation for each in books.kafka.terminals.get(request_id, ())}
    answered |= books.kafka.answers.get(request_id, set())
    for correlation, submission in request.submissions.items():
        if correlation in answered or not books.window.holds(submission.at_ms):
            continue
        tally.add(Code.WAITING if progress.may_tell(submission) else Code.UNANSWERED, request_id)


def _check_malformed(
    kafka: KafkaBooks, progress: Progress, tally: Tally, malformed: Malformed, *, buried: bool
) -> None:
    # Under the id of a request that was accepted nobody is told: that one has a reply of its own.
    told = (
        malformed.request_id is None
        or malformed.request_id in kafka.requests
        or any(
            each.correlation == malformed.correlation and each.status == "failed"
            for each in kafka.terminals.get(malformed.request_id, ())
        )
    )
    if not (buried and told) and progress.may_tell(malformed.submission):
        tally.add(Code.WAITING, malformed.request_id or malformed.address)
        return
    if not buried:
        tally.add(Code.UNBURIED, malformed.address)
    if not told:
        tally.add(Code.UNTOLD, malformed.request_id or malformed.address)


def _terminal(
    kafka: KafkaBooks, broken: set[tuple[str, bytes]], request_id: str, request: Request
) -> Terminal | None:
    """Return the first terminal reply of the request's last replay, if it has come."""
    replies = _of_the_request(kafka, broken, request_id)
    last = max((each.replay for each in replies), default=-1)
    if last < request.replay:
        return None
    return min((each for each in replies if each.replay == last), key=lambda each: each.at_ms)


def _of_the_request(kafka: KafkaBooks, broken: set[tuple[str, bytes]], request_id: str) -> list[Terminal]:
    """Return the terminal replies of a request without those that answer malformed records with its id."""
    return [
        each
        for each in kafka.terminals.get(request_id, ())
        if each.accepted_at_ms is not None or (request_id, each.correlation) not in broken
    ]


def _malformed_replies(kafka: KafkaBooks) -> set[tuple[str, bytes]]:
    return {
        (each.request_id, each.correlation)
        for each in kafka.malformed.values()
        if each.request_id is not None
    }


def _was_accepted_before(kafka: KafkaBooks, request_id: str, request: Request, since_ms: int) -> bool:
    """Whether all that was read of a request are repeats of one that was accepted before the window.

    Each of its submissions then got the stored reply of an earlier time, or was refused for a conflict with
    it. Where the stored reply is of this window, its own terminal reply has to be there.
    """
    answered = kafka.answers.get(request_id, set())
    if not all(correlation in answered for correlation in request.submissions):
        return False
    return kafka.repeated.get(request_id, 0) < since_ms

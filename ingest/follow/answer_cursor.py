"""Decides what a client is sent next of an answer, so that it never mixes two attempts. Without I/O.

Deltas count from 0 in each attempt, and a higher attempt replaces all lower ones. The terminal reply has the
whole answer; deltas are its beginning, sent early.

    cursor = AnswerCursor()
    cursor.step("The capital", None)                   # "The capital"
    cursor.step("The capital", "The capital is Rome")  # " is Rome"
    cursor.step("The capital", "The capital is Rome")  # Step.FINISH

The id of an event names a position, so that any replica can resume there: `<characters>-<digest>`, e.g.
`137-9f3a2c410b77`, is how many characters of the answer the client has since the last reset, as Unicode code
points, and the BLAKE2b digest of their UTF-8, of 6 bytes, in hex. Nothing is stored for an id: whoever knows
the answer can tell whether the client's text is its beginning.
"""

import hashlib
import re
from enum import Enum, auto

import msgspec

from streams.events import Delta

_DIGEST_BYTES = 6
_ID = re.compile(r"([0-9]{1,9})-([0-9a-f]{12})")
#: The most that is written to a client's connection at once: some 20 kB there.
MAX_STEP_CHARS = 4_096
_PIECE_CHARS = 24


class ResumePoint(msgspec.Struct, frozen=True):
    """What a client says it has: so many characters, with this digest."""

    chars: int
    digest: str

    def matches(self, text: str) -> bool:
        """Whether the client's characters are the beginning of `text`, which is long enough to tell."""
        return _digest(text[: self.chars]).hexdigest() == self.digest


class StreamPosition:
    """The position in a growing text, and its event id."""

    def __init__(self, text: str = "") -> None:
        self._chars = len(text)
        self._hash = _digest(text)

    def advance(self, text: str) -> None:
        """Go on by `text`."""
        self._chars += len(text)
        self._hash.update(text.encode())

    @property
    def event_id(self) -> str:
        """The id of the position that is reached."""
        return f"{self._chars}-{self._hash.hexdigest()}"


def parse_event_id(event_id: str) -> ResumePoint:
    """Return the position that an event id names; `ValueError` where it is none of ours."""
    found = _ID.fullmatch(event_id)
    if found is None:
        raise ValueError("not an event id of ours, like 137-9f3a2c410b77")
    return ResumePoint(int(found[1]), found[2])


def _digest(text: str) -> "hashlib.blake2b":
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES, usedforsecurity=False)


class AnswerSoFar(msgspec.Struct, frozen=True):
    """The text of the highest attempt, without gaps."""

    attempt: int = 0
    next_seq: int = 0
    text: str = ""


class Step(Enum):
    """What to do other than sending text."""

    WAIT = auto()  # there is nothing to send yet
    RESET = auto()  # what was sent is not the beginning of the answer: take it back and start over
    FINISH = auto()  # the whole answer was sent


def advance(answer: AnswerSoFar, delta: Delta, *, max_chars: int) -> AnswerSoFar:
    """Return the answer after `delta`. The reply brings what is left out here.

    That is stale attempts, duplicates, everything after a gap, and everything beyond `max_chars`.
    """
    if delta.attempt > answer.attempt:
        answer = AnswerSoFar(attempt=delta.attempt)
    if delta.attempt < answer.attempt or delta.seq != answer.next_seq:
        return answer
    if len(answer.text) + len(delta.text) > max_chars:
        return answer
    return AnswerSoFar(answer.attempt, answer.next_seq + 1, answer.text + delta.text)


class AnswerCursor:
    """How much of the answer one client has, and what it is sent next.

    Whoever sends the text advances `position`. Text beyond `max_chars` waits until the client has read.
    """

    def __init__(self, resume_at: ResumePoint | None = None, *, max_chars: int = MAX_STEP_CHARS) -> None:
        self.position = StreamPosition()
        self._resume_at = resume_at
        self._max_chars = max_chars
        self._sent = ""

    def step(self, text: str, content: str | None, *, patient: bool = True) -> str | Step:
        """Return the text to send next, or another step, and take it for done.

        `content` is that of the terminal reply, once it is there. A client that resumes may be ahead of what
        this replica has read yet. Only while `patient` is it waited for: a new attempt may be shorter and say
        something else.
        """
        known = text if content is None else content
        if (point := self._resume_at) is not None:
            is_ahead = len(known) < point.chars
            if is_ahead and content is None and (patient or not text):
                return Step.WAIT
            if is_ahead or not point.matches(known):
                return self._reset()
            self._continue_after(known[: point.chars])
        if not known.startswith(self._sent):
            is_shorter_so_far = content is None and self._sent.startswith(text)
            return Step.WAIT if is_shorter_so_far else self._reset()
        if len(known) == len(self._sent):
            return Step.WAIT if content is None else Step.FINISH
        piece = known[len(self._sent) :][: self._max_chars]
        self._sent += piece
        return piece

    def _reset(self) -> Step:
        self._continue_after("")
        return Step.RESET

    def _continue_after(self, text: str) -> None:
        self._resume_at, self._sent, self.position = None, text, StreamPosition(text)


def pieces(text: str, size: int = _PIECE_CHARS) -> list[str]:
    """Cut `text` into pieces of about `size` characters, at spaces if there are some."""
    cut: list[str] = []
    start = 0
    while len(text) - start > size:
        space = text.find(" ", start + size // 2, start + 2 * size)
        end = space if space > start else start + size
        cut.append(text[start:end])
        start = end
    if start < len(text):
        cut.append(text[start:])
    return cut

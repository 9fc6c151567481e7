"""What a client is sent of an answer, as decisions on values: never two answers glued together.

Deltas count from 0 in each attempt. A higher attempt replaces all lower ones. The final reply is the
truth; deltas are only its beginning, sent early.
"""

import msgspec

from ingest.follow.resume import Marker, Place
from streams.events import Delta

#: The most that is put into a client's connection at once; it is some 20 kB there.
MAX_STEP_CHARS = 4_096
_PIECE_CHARS = 24


class Progress(msgspec.Struct, frozen=True):
    """The answer so far: the text of the highest attempt, without gaps."""

    attempt: int = 0
    next_seq: int = 0
    text: str = ""


class Wait(msgspec.Struct, frozen=True):
    """There is nothing to send yet."""


class Say(msgspec.Struct, frozen=True):
    """Send this text after what was sent."""

    text: str


class Replace(msgspec.Struct, frozen=True):
    """What was sent is not the beginning of the answer: take it back and start over."""


class Finish(msgspec.Struct, frozen=True):
    """All of the reply's content was sent."""


class Resume(msgspec.Struct, frozen=True):
    """The client has this much of the answer: go on after it."""

    text: str


Step = Wait | Say | Replace | Finish


def advance(progress: Progress, delta: Delta, *, max_chars: int) -> Progress:
    """Return the progress after `delta`.

    Stale attempts, duplicates, everything after a gap and everything beyond `max_chars` is left out: the
    reply brings it.
    """
    if delta.attempt > progress.attempt:
        progress = Progress(attempt=delta.attempt)
    if delta.attempt < progress.attempt or delta.seq != progress.next_seq:
        return progress
    if len(progress.text) + len(delta.text) > max_chars:
        return progress
    return Progress(progress.attempt, progress.next_seq + 1, progress.text + delta.text)


def next_step(sent: str, text: str, content: str | None) -> Step:
    """Decide what to send next.

    Args:
        sent: what the client has got since the last reset.
        text: the text of the highest attempt so far.
        content: the content of the final reply, once it is there.
    """
    known = text if content is None else content
    if known.startswith(sent):
        if len(known) > len(sent):
            return Say(known[len(sent) :])
        return Wait() if content is None else Finish()
    if content is None and sent.startswith(text):
        return Wait()  # a new attempt that says the same so far
    return Replace()


def resume_step(place: Place, text: str, content: str | None, *, patient: bool) -> Resume | Replace | Wait:
    """Decide where to go on for a client that comes back.

    A client may be ahead of what this replica has read yet: it is waited for, but not for ever, because a new
    attempt may be shorter and say something else.

    Args:
        place: what the client has.
        text: the text of the highest attempt so far.
        content: the content of the final reply, once it is there.
        patient: whether there is time left to wait for more text.
    """
    known = text if content is None else content
    if len(known) >= place.chars:
        return Resume(known[: place.chars]) if place.is_in(known) else Replace()
    if content is None and (patient or not text):
        return Wait()
    return Replace()


class Reading:
    """What one client has of the answer, and what it is to get next.

    Args:
        place: what it had before, where it comes back.
        max_chars: the most that it gets in one step: more waits for it to read.

    Attributes:
        marker: names the places of the text that it gets; whoever sends the text moves it on.
    """

    def __init__(self, place: Place | None = None, *, max_chars: int = MAX_STEP_CHARS) -> None:
        self.marker = Marker()
        self._place = place
        self._max_chars = max_chars
        self._sent = ""

    def step(self, text: str, content: str | None, *, patient: bool = True) -> Step:
        """Return the next step, and take it for done. The arguments are those of `resume_step`."""
        if self._place is not None:
            found = resume_step(self._place, text, content, patient=patient)
            if isinstance(found, Wait):
                return found
            self._go_on_after(found.text if isinstance(found, Resume) else "")
            if isinstance(found, Replace):
                return found
        step = next_step(self._sent, text, content)
        if isinstance(step, Replace):
            self._go_on_after("")
        elif isinstance(step, Say):
            step = Say(step.text[: self._max_chars])
            self._sent += step.text
        return step

    def _go_on_after(self, text: str) -> None:
        self._place, self._sent, self.marker = None, text, Marker(text)


def pieces(text: str, size: int = _PIECE_CHARS) -> list[str]:
    """Cut `text` into pieces of about `size` characters, at spaces where there are some.

    Joined they are `text` again.
    """
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

"""What a client is sent of an answer, as decisions on values: never two answers glued together.

Deltas count from 0 in each attempt. A higher attempt replaces all lower ones. The final reply is the
truth; deltas are only its beginning, sent early.
"""

import msgspec

from streams.events import Delta

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

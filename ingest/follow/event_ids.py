"""The ids of a stream's events: each names a position in the answer, so that any replica can resume there.

An id is `<characters>-<digest>`, e.g. `137-9f3a2c410b77`: how many characters of the answer the client has
since the last reset, as Unicode code points, and the BLAKE2b digest of their UTF-8, of 6 bytes, in hex.
Nothing is stored for an id: whoever knows the answer can tell whether the client's text is its beginning. So
an id holds on every replica, after a restart, and after the answer has ended.
"""

import hashlib
import re

import msgspec

_DIGEST_BYTES = 6
_ID = re.compile(r"([0-9]{1,9})-([0-9a-f]{12})")


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
    """Return the position that an event id names.

    Raises:
        ValueError: it is none of ours.
    """
    found = _ID.fullmatch(event_id)
    if found is None:
        raise ValueError("not an event id of ours, like 137-9f3a2c410b77")
    return ResumePoint(int(found[1]), found[2])


def _digest(text: str) -> "hashlib.blake2b":
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES, usedforsecurity=False)

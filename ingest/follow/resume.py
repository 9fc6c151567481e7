"""The ids of a stream's events: each names a place in the answer, so that any replica can go on from there.

An id is `<characters>-<digest>`: how many characters of the answer the client has since the last reset, as
Unicode code points, and the BLAKE2b digest of their UTF-8, of 6 bytes, in hex. Nothing is kept for it: who
knows the answer can tell whether a client's text is its beginning. So an id holds on every replica, after a
restart, and after the answer has ended.
"""

import hashlib
import re

import msgspec

_DIGEST_BYTES = 6
_ID = re.compile(r"([0-9]{1,9})-([0-9a-f]{12})")


class Place(msgspec.Struct, frozen=True):
    """How far a client says that it is: so many characters, whose digest is this."""

    chars: int
    digest: str

    def is_in(self, text: str) -> bool:
        """Whether the client's characters are the beginning of `text`, which is long enough to tell."""
        return _digest(text[: self.chars]).hexdigest() == self.digest


class Marker:
    """Names the places of a text while it grows.

    Args:
        text: what is there already.
    """

    def __init__(self, text: str = "") -> None:
        self._chars = len(text)
        self._hash = _digest(text)

    def add(self, text: str) -> None:
        """Go on by `text`."""
        self._chars += len(text)
        self._hash.update(text.encode())

    @property
    def event_id(self) -> str:
        """The id of the place that is reached."""
        return f"{self._chars}-{self._hash.hexdigest()}"


def parse_event_id(event_id: str) -> Place:
    """Return the place that an event's id names.

    Raises:
        ValueError: it is none of ours.
    """
    found = _ID.fullmatch(event_id)
    if found is None:
        raise ValueError("not an event id of ours, like 137-9f3a2c410b77")
    return Place(int(found[1]), found[2])


def _digest(text: str) -> "hashlib.blake2b":
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES, usedforsecurity=False)

"""Records that come again: put aside for a while, or replayed from the dead letters.

Such a record holds the key, value and headers of the first one, byte for byte, and headers that say which
record that was. It stands for it everywhere: it has the same address, and was written at the same time.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from streams.codec import header_text

PREFIX = "__streams."
_RECORD = "__streams.origin.record"
_TIMESTAMP = "__streams.origin.timestamp"
_ATTEMPT = "__streams.retry.attempt"
_NOT_BEFORE = "__streams.retry.not-before"
_REASON = "__streams.retry.reason"
_NUMBER = "__streams.replay.number"
_AT = "__streams.replay.at"
_MAX_REASON_CHARS = 500

Headers = tuple[tuple[str, bytes], ...]


class FirstRecord(Protocol):
    """The record that a copy stands for."""

    @property
    def address(self) -> str:
        """Its place in the log: ``topic:partition:offset``."""
        ...

    @property
    def timestamp_ms(self) -> int:
        """When it was written, Unix ms."""
        ...

    @property
    def headers(self) -> Headers:
        """Its headers."""
        ...


class Redelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a record say about former deliveries; of a first delivery, nothing.

    Attributes:
        record: the first record's place in the log.
        timestamp_ms: when the first record was written, Unix ms.
        attempt: how often it has been put aside since it was last replayed.
        not_before_ms: when it is to be worked on again, Unix ms.
        replay: how often it was replayed from the dead letters.
        replayed_at_ms: when it was last replayed, Unix ms: its deadline counts from there.
    """

    record: str | None = None
    timestamp_ms: int | None = None
    attempt: int = 0
    not_before_ms: int = 0
    replay: int = 0
    replayed_at_ms: int | None = None

    @property
    def topic(self) -> str | None:
        """The topic of the first record."""
        return self.record.rsplit(":", 2)[0] if self.record else None


def redelivery(headers: Iterable[tuple[str, bytes]]) -> Redelivery:
    """Return what a record's headers say; what is no number there counts as absent."""
    known = tuple(headers)
    return Redelivery(
        record=_record(header_text(known, _RECORD)),
        timestamp_ms=_number(header_text(known, _TIMESTAMP)),
        attempt=_number(header_text(known, _ATTEMPT)) or 0,
        not_before_ms=_number(header_text(known, _NOT_BEFORE)) or 0,
        replay=_number(header_text(known, _NUMBER)) or 0,
        replayed_at_ms=_number(header_text(known, _AT)),
    )


def put_aside(record: FirstRecord, *, not_before_ms: int, reason: str) -> Headers:
    """Return the headers of the copy of `record` that waits on the retry topic."""
    before = redelivery(record.headers)
    return (
        *_without(record.headers, _RECORD, _TIMESTAMP, _ATTEMPT, _NOT_BEFORE, _REASON),
        (_RECORD, record.address.encode()),
        (_TIMESTAMP, str(record.timestamp_ms).encode()),
        (_ATTEMPT, str(before.attempt + 1).encode()),
        (_NOT_BEFORE, str(not_before_ms).encode()),
        (_REASON, reason[:_MAX_REASON_CHARS].encode()),
    )


def replayed(headers: Headers, *, record: str, timestamp_ms: int, at_ms: int) -> Headers:
    """Return the headers of the copy that replays a dead letter.

    Args:
        headers: of the dead letter.
        record: the place of the record that died.
        timestamp_ms: when that record was written.
        at_ms: now; its deadline counts from here.
    """
    before = redelivery(headers)
    return (
        *(each for each in headers if not each[0].startswith(PREFIX)),
        (_RECORD, record.encode()),
        (_TIMESTAMP, str(timestamp_ms).encode()),
        (_NUMBER, str(before.replay + 1).encode()),
        (_AT, str(at_ms).encode()),
    )


def _without(headers: Sequence[tuple[str, bytes]], *names: str) -> Headers:
    return tuple(each for each in headers if each[0] not in names)


def _record(text: str | None) -> str | None:
    """Return a record's place if `text` is one: anybody may write headers."""
    parts = (text or "").rsplit(":", 2)
    return text if len(parts) == 3 and parts[0] and parts[1].isdecimal() and parts[2].isdecimal() else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 15 else None

"""How every process writes a dead letter: the bytes as they came, and headers that say why it is dead.

A record that is too large to be kept (its topic allows more than ours, or it was compressed to a fraction of
its size) is not lost either: its dead letter says where it lies, and how large it is.
"""

from typing import Protocol

from streams.kafka.record_sizes import record_bytes
from streams.publisher import Emit
from streams.topics import DEAD_LETTERS

PREFIX = "__streams.errors."
#: In place of the bytes: how many they are.
OMITTED = PREFIX + "omitted-bytes"
_MAX_MESSAGE_CHARS = 2_000
#: What the headers below take at most: a message of four-byte characters, and seven short ones.
_REASON_BYTES = 16 * 1024


class DeadRecord(Protocol):
    """What a dead letter needs to know of the record that it keeps."""

    @property
    def topic(self) -> str:
        """Where it was read."""
        ...

    @property
    def partition(self) -> int:
        """Where it was read."""
        ...

    @property
    def offset(self) -> int:
        """Where it was read."""
        ...

    @property
    def timestamp_ms(self) -> int:
        """When it was written, Unix ms."""
        ...

    @property
    def key(self) -> bytes | None:
        """Its key."""
        ...

    @property
    def value(self) -> bytes | None:
        """Its value."""
        ...

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Its headers."""
        ...


def dead_letter(record: DeadRecord, *, stage: str, fault: BaseException) -> Emit:
    """Return the record as it came, byte for byte, with headers that say what went wrong where."""
    reason = {
        "exception": type(fault).__name__,
        "message": str(fault)[:_MAX_MESSAGE_CHARS],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
        "stage": stage,
    }
    why = tuple((PREFIX + name, text.encode("utf-8", "replace")) for name, text in reason.items())
    size = record_bytes(record.key, record.value, record.headers)
    if size + _REASON_BYTES > DEAD_LETTERS.max_bytes:
        omitted = (*why, (OMITTED, str(size).encode()))
        return Emit(topic=DEAD_LETTERS.name, key=None, value=None, headers=omitted)
    return Emit(topic=DEAD_LETTERS.name, key=record.key, value=record.value, headers=(*record.headers, *why))

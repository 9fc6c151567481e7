"""Makes dead letters: the record as it came, byte for byte, and headers that say what went wrong where.

A record that is too large for the topic has a dead letter without its bytes, which says where it is and how
large.
"""

from typing import Protocol

from streams.kafka.record_sizes import record_bytes
from streams.publisher import Emit
from streams.topics import DEAD_LETTERS

PREFIX = "__streams.errors."
#: The size of a record whose bytes are left out.
OMITTED = PREFIX + "omitted-bytes"
_MAX_MESSAGE_CHARS = 2_000
#: The largest size of the headers below: a message of four-byte characters, and seven short ones.
_REASON_BYTES = 16 * 1024


class DeadRecord(Protocol):
    """The record that a dead letter keeps."""

    @property
    def topic(self) -> str:
        """Its place."""

    @property
    def partition(self) -> int:
        """Its place."""

    @property
    def offset(self) -> int:
        """Its place."""

    @property
    def timestamp_ms(self) -> int:
        """When it was written, Unix ms."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value."""

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Its headers."""


def dead_letter(record: DeadRecord, *, stage: str, fault: BaseException) -> Emit:
    """Return the dead letter of a record."""
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

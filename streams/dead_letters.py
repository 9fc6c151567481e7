"""How every process writes a dead letter: the bytes as they came, and headers that say why it is dead."""

from typing import Protocol

from streams.publisher import Emit
from streams.topics import DEAD_LETTERS

_PREFIX = "__streams.errors."
_MAX_MESSAGE_CHARS = 2_000


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
    return Emit(
        topic=DEAD_LETTERS.name,
        key=record.key,
        value=record.value,
        headers=(*record.headers, *((_PREFIX + name, text.encode()) for name, text in reason.items())),
    )

"""Records that cannot be stored, as they go to the dead-letter topic."""

from analytics.batches import Record
from streams.publisher import Emit
from streams.topics import DEAD_LETTERS

_PREFIX = "__streams.errors."
_MAX_MESSAGE_CHARS = 2_000
STAGE = "analytics"


def dead_letter(record: Record, fault: Exception) -> Emit:
    """Return the record as it came, byte for byte, with headers that say why it is dead."""
    reason = {
        "exception": type(fault).__name__,
        "message": str(fault)[:_MAX_MESSAGE_CHARS],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "stage": STAGE,
    }
    return Emit(
        topic=DEAD_LETTERS.name,
        key=record.key,
        value=record.value,
        headers=(*record.headers, *((_PREFIX + name, text.encode()) for name, text in reason.items())),
        timestamp_ms=record.timestamp_ms,
    )

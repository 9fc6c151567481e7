"""Makes dead letters: the record as it came, byte for byte, and headers that say what went wrong where.

If the record is too large for the topic, its dead letter has only the record's place and size.
"""

from streams.kafka.record_sizes import record_bytes
from streams.publisher import Emit
from streams.redelivery import Record
from streams.topics import DEAD_LETTERS

PREFIX = "__streams.errors."
#: The size of a record whose bytes are left out.
OMITTED = PREFIX + "omitted-bytes"
_MAX_MESSAGE_CHARS = 2_000
#: The largest size of the headers below: a message of four-byte characters, and seven short ones.
_REASON_BYTES = 16 * 1024


def dead_letter(record: Record, *, stage: str, fault: BaseException) -> Emit:
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

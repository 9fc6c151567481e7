"""The largest size of each kind of record.

A request has at most `MAX_BODY_BYTES`. Placeholders for personal data make it up to `MAX_GUARDED_FACTOR`
times as long. Later records hold that text, the rendered prompt of the same length, and the answer:
3 x 2 MiB x 2 + 4 MiB = 16 MiB. A dead letter or a record put aside adds headers. The broker's limits are
slightly higher (`Topic.broker_bytes`).
"""

_MIB = 1024 * 1024

MAX_BODY_BYTES = 2 * _MIB
#: All headers of a sender together, names and values.
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 64
#: A record on a topic where senders write: the body, its headers, its key, and what ingest adds.
MAX_ENTRANCE_BYTES = MAX_BODY_BYTES + 128 * 1024
MAX_GUARDED_FACTOR = 3
#: An answer of a provider, text and tool calls as JSON; a longer one is refused.
MAX_ANSWER_BYTES = 4 * _MIB
MAX_EVENT_BYTES = 16 * _MIB
#: A dead letter, or a record put aside: any record of ours, with headers of its own.
MAX_KEPT_BYTES = MAX_EVENT_BYTES + 256 * 1024
#: A compressed batch, decompressed.
MAX_BATCH_BYTES = 64 * _MIB
#: A batch of one record, without its key, value and headers.
BATCH_OVERHEAD_BYTES = 1024
_HEADER_OVERHEAD_BYTES = 10  # two lengths


def record_bytes(key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> int:
    """Return an upper bound of what a record takes on its topic, uncompressed."""
    named = sum(len(name) * 4 + len(text) + _HEADER_OVERHEAD_BYTES for name, text in headers)
    return len(key or b"") + len(value or b"") + named + BATCH_OVERHEAD_BYTES

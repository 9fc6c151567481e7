"""How large a record may be on its way, and why each bound leaves room for what the next stage adds.

A request has at most `MAX_BODY_BYTES`. The guardrail may lengthen it by what stands for personal data, up to
`MAX_GUARDED_FACTOR` times; later records hold that and the rendered prompt, which is as long, and the
answer: 3 x 2 MiB x 2 + 4 MiB = 16 MiB. A dead letter and a record put aside hold such a record and the
headers that say why. Every bound is the broker's too, with some room (`Topic.broker_bytes`).
"""

_MIB = 1024 * 1024

MAX_BODY_BYTES = 2 * _MIB
#: What a sender's headers may take up, names and values together.
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 64
#: A record on a topic where senders write: the body, its headers, its key, and what ingest adds.
MAX_ENTRANCE_BYTES = MAX_BODY_BYTES + 128 * 1024
MAX_GUARDED_FACTOR = 3
#: An answer of a provider, text and tool calls as JSON; what is longer is not taken.
MAX_ANSWER_BYTES = 4 * _MIB
MAX_EVENT_BYTES = 16 * _MIB
#: A dead letter, or a record put aside: any record of ours, with headers of its own.
MAX_KEPT_BYTES = MAX_EVENT_BYTES + 256 * 1024
#: A compressed batch may decompress to so much: some records of the largest size, or very many small ones.
MAX_BATCH_BYTES = 64 * _MIB
#: What a batch of one record takes beside its key, value and headers.
BATCH_OVERHEAD_BYTES = 1024
_HEADER_OVERHEAD_BYTES = 10  # two lengths


def record_bytes(key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> int:
    """Return an upper bound of what a record takes on its topic, uncompressed."""
    named = sum(len(name) * 4 + len(text) + _HEADER_OVERHEAD_BYTES for name, text in headers)
    return len(key or b"") + len(value or b"") + named + BATCH_OVERHEAD_BYTES

"""The topics: what each carries, who is meant to read it, how long it is kept, how large a record may be.

A request has at most `MAX_BODY_BYTES`. Placeholders for personal data make it up to `MAX_GUARDED_FACTOR`
times as long. Later records hold that text, the rendered prompt of the same length, and the answer:
3 x 2 MiB x 2 + 4 MiB = 16 MiB. A dead letter or a record put aside adds headers. The broker's limits are
slightly higher (`Topic.broker_bytes`).
"""

import msgspec

from streams import events

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


DAY_MS = 24 * 60 * 60 * 1000


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic and its event, None for records byte for byte as they came. For its readers see `pipeline`.

    `open`: whether services may write to it. On other topics only records that Headrace has signed count.
    `personal`: whether its records hold texts or names of users. `max_bytes` is the size of the largest
    record.
    """

    name: str
    event: type[events.Event] | None
    retention_ms: int = 7 * DAY_MS
    compacted: bool = False
    max_bytes: int = MAX_EVENT_BYTES
    open: bool = False
    personal: bool = True

    @property
    def broker_bytes(self) -> int:
        """The broker's limit: incompressible data grows by half a percent when a client compresses it."""
        return self.max_bytes + self.max_bytes // 64


REQUESTS = Topic(name="llm.requests.v1", event=events.ChatRequested, max_bytes=MAX_ENTRANCE_BYTES, open=True)
EMBEDDINGS = Topic(
    name="llm.embeddings.v1", event=events.EmbeddingsRequested, max_bytes=MAX_ENTRANCE_BYTES, open=True
)
GUARDED = Topic(name="llm.guarded.v1", event=events.RequestGuarded)
MISSES = Topic(name="llm.misses.v1", event=events.CacheMissed)
COMPLETIONS = Topic(name="llm.completions.v1", event=events.Completed)
OUTCOMES = Topic(name="llm.outcomes.v1", event=events.OutcomeReached)
DELTAS = Topic(name="llm.deltas.v1", event=events.Delta, retention_ms=DAY_MS)
REPLIES = Topic(name="llm.replies.v1", event=events.Reply)
LOGS = Topic(name="llm.logs.v1", event=events.RequestLog, retention_ms=30 * DAY_MS)
LEDGER = Topic(name="llm.ledger.v1", event=events.LedgerEntry, retention_ms=30 * DAY_MS)
WEBHOOKS = Topic(name="llm.webhooks.v1", event=events.WebhookDue)
FEEDBACK = Topic(
    name="llm.feedback.v1",
    event=events.FeedbackGiven,
    retention_ms=30 * DAY_MS,
    max_bytes=MAX_ENTRANCE_BYTES,
    open=True,
)
RETRIES = Topic(name="llm.retries.v1", event=None, max_bytes=MAX_KEPT_BYTES)
DEAD_LETTERS = Topic(
    name="llm.dead-letters.v1", event=None, retention_ms=30 * DAY_MS, max_bytes=MAX_KEPT_BYTES
)
DEAD_LETTER_ACTIONS = Topic(
    name="llm.dead-letter-actions.v1",
    event=events.DeadLetterAction,
    retention_ms=30 * DAY_MS,
    personal=False,
)
ALERTS = Topic(name="llm.alerts.v1", event=events.AlertRaised, retention_ms=90 * DAY_MS, personal=False)
ERASURES = Topic(name="llm.erasures.v1", event=events.Erasure, compacted=True, personal=False)
CONTROL = Topic(name="llm.control.v1", event=events.ControlRecord, compacted=True, personal=False)

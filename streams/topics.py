"""The topics: what each carries, who is meant to read it, how long it is kept."""

import msgspec

from streams import events

DAY_MS = 24 * 60 * 60 * 1000


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic and the event it carries. `event` is None where the bytes are kept as they came."""

    name: str
    event: type[events.Event] | None
    retention_ms: int = 7 * DAY_MS
    compacted: bool = False


REQUESTS = Topic(name="llm.requests.v1", event=events.ChatRequested)
EMBEDDINGS = Topic(name="llm.embeddings.v1", event=events.EmbeddingsRequested)
GUARDED = Topic(name="llm.guarded.v1", event=events.RequestGuarded)
MISSES = Topic(name="llm.misses.v1", event=events.CacheMissed)
COMPLETIONS = Topic(name="llm.completions.v1", event=events.Completed)
OUTCOMES = Topic(name="llm.outcomes.v1", event=events.OutcomeReached)
DELTAS = Topic(name="llm.deltas.v1", event=events.Delta, retention_ms=DAY_MS)
REPLIES = Topic(name="llm.replies.v1", event=events.Reply)
LOGS = Topic(name="llm.logs.v1", event=events.RequestLog, retention_ms=30 * DAY_MS)
LEDGER = Topic(name="llm.ledger.v1", event=events.LedgerEntry, retention_ms=30 * DAY_MS)
WEBHOOKS = Topic(name="llm.webhooks.v1", event=events.WebhookDue)
FEEDBACK = Topic(name="llm.feedback.v1", event=events.FeedbackGiven, retention_ms=30 * DAY_MS)
RETRIES = Topic(name="llm.retries.v1", event=None)
DEAD_LETTERS = Topic(name="llm.dead-letters.v1", event=None, retention_ms=30 * DAY_MS)
DEAD_LETTER_ACTIONS = Topic(
    name="llm.dead-letter-actions.v1", event=events.DeadLetterAction, retention_ms=30 * DAY_MS
)
ALERTS = Topic(name="llm.alerts.v1", event=events.AlertRaised, retention_ms=90 * DAY_MS)
ERASURES = Topic(name="llm.erasures.v1", event=events.Erasure, compacted=True)

#: Where requests come in, from ingest and from senders of their own.
ENTRANCES: tuple[Topic, ...] = (REQUESTS, EMBEDDINGS)

ALL_TOPICS: tuple[Topic, ...] = (
    REQUESTS,
    EMBEDDINGS,
    GUARDED,
    MISSES,
    COMPLETIONS,
    OUTCOMES,
    DELTAS,
    REPLIES,
    LOGS,
    LEDGER,
    WEBHOOKS,
    FEEDBACK,
    RETRIES,
    DEAD_LETTERS,
    DEAD_LETTER_ACTIONS,
    ALERTS,
    ERASURES,
)

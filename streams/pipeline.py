"""The pipeline as data: one row per stage and per other consumer group. There is no second list.

    requests → [guardrail] → guarded → [cache] → misses → [llm] → completions → [output] ┐
                    │                     │                  │                            ▼
                    └──── blocked ────────┴──── cached ──────┴── failed, degraded ──► outcomes → [cost]
                                                                                          ▲
    embeddings → [embeddings] ────────────────────────────────────────────────────────────┘

A stage reads `source` and hands a request on to `next`. It may also end a request itself: the result then
goes to `OUTCOMES`. Any stage may put a record on `RETRIES` (the relay brings it back) or on `DEAD_LETTERS`.

Everything that has to know the stages derives it from here:

    [spec.name for spec in WORKER_CONSUMERS]                        # what `headrace worker` can run
    {spec.group: spec.source.name for spec in STAGES}               # what each stage's group reads
    TOPICS, STAGE_SOURCES, ENTRANCES, PERSONAL_TOPICS               # topics, by what they are for
    REPLAYABLE, PAYING                                              # names of topics, for a replay

To add a stage: one row here, one package, one line in `agents.bootstrap`. See docs/adding-a-stage.md.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from streams import topics
from streams.settings import Settings
from streams.topics import Topic

GROUP_PREFIX = "headrace."


class ConsumerKind(StrEnum):
    """What reads a topic."""

    STAGE = "stage"
    #: Brings records on the retry topic back to the stage that put them aside.
    RELAY = "relay"
    #: Posts the webhooks of requests that have ended.
    WEBHOOKS = "webhooks"
    #: Stores log records in ClickHouse.
    SINK = "sink"
    #: Stores feedback in ClickHouse.
    FEEDBACK = "feedback"


class StageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A stage or another consumer group.

    Attributes:
        name: in commands, logs, metrics, dead letters and the name of its consumer group.
        source: the topic that it reads.
        next: where a stage hands on a request that is to go further; None: it goes no further.
        emits: the other topics that it writes, besides the retry topic and the dead letters.
        kind: what it is.
        in_flight: the setting that bounds how many records it works on at once; None: it works in batches.
        spends: whether it calls a paid model. It may then work on a record until its request's deadline.
        replayable: whether a record of its source may be sent again by `headrace dlq replay`.
    """

    name: str
    source: Topic
    next: Topic | None = None
    emits: tuple[Topic, ...] = ()
    kind: ConsumerKind = ConsumerKind.STAGE
    in_flight: str | None = "stage_in_flight"
    spends: bool = False
    replayable: bool = True

    @property
    def group(self) -> str:
        """The name of its consumer group."""
        return GROUP_PREFIX + self.name

    @property
    def writes(self) -> tuple[Topic, ...]:
        """Every topic that it writes."""
        onward = () if self.next is None else (self.next,)
        aside = (topics.RETRIES,) if self.kind is ConsumerKind.STAGE else ()
        return (*onward, *self.emits, *aside, topics.DEAD_LETTERS)

    def max_in_flight(self, settings: Settings) -> int:
        """Return how many records it works on at once, at most; 0 where it works in batches."""
        found: int = getattr(settings, self.in_flight) if self.in_flight else 0
        return found


class TopicClient(msgspec.Struct, frozen=True, kw_only=True):
    """A program that reads or writes topics without a consumer group of its own."""

    name: str
    reads: tuple[Topic, ...] = ()
    writes: tuple[Topic, ...] = ()


GUARDRAIL = StageSpec(
    name="guardrail",
    source=topics.REQUESTS,
    next=topics.GUARDED,
    emits=(topics.OUTCOMES, topics.REPLIES),
    in_flight="guardrail_in_flight",
)
EMBEDDINGS = StageSpec(
    name="embeddings",
    source=topics.EMBEDDINGS,
    next=topics.OUTCOMES,
    emits=(topics.REPLIES,),
    in_flight="embedding_in_flight",
    spends=True,
)
CACHE = StageSpec(name="cache", source=topics.GUARDED, next=topics.MISSES, emits=(topics.OUTCOMES,))
LLM = StageSpec(
    name="llm",
    source=topics.MISSES,
    next=topics.COMPLETIONS,
    emits=(topics.OUTCOMES, topics.DELTAS),
    in_flight="llm_in_flight",
    spends=True,
)
OUTPUT = StageSpec(name="output", source=topics.COMPLETIONS, next=topics.OUTCOMES)
COST = StageSpec(
    name="cost",
    source=topics.OUTCOMES,
    emits=(topics.REPLIES, topics.LOGS, topics.LEDGER, topics.WEBHOOKS),
)
SINK = StageSpec(name="analytics", source=topics.LOGS, kind=ConsumerKind.SINK, in_flight=None)
FEEDBACK = StageSpec(name="feedback", source=topics.FEEDBACK, kind=ConsumerKind.FEEDBACK, in_flight=None)
RELAY = StageSpec(
    name="retries",
    source=topics.RETRIES,
    emits=(topics.OUTCOMES, topics.REPLIES),
    kind=ConsumerKind.RELAY,
    replayable=False,
)
WEBHOOKS = StageSpec(
    name="webhooks", source=topics.WEBHOOKS, kind=ConsumerKind.WEBHOOKS, in_flight="webhook_in_flight"
)

#: Every consumer group, in the order in which a request meets them.
PIPELINE: tuple[StageSpec, ...] = (
    GUARDRAIL,
    EMBEDDINGS,
    CACHE,
    LLM,
    OUTPUT,
    COST,
    SINK,
    FEEDBACK,
    RELAY,
    WEBHOOKS,
)
#: What else reads or writes topics.
CLIENTS: tuple[TopicClient, ...] = (
    TopicClient(
        name="ingest",
        reads=(topics.REPLIES, topics.DELTAS),
        writes=(topics.REQUESTS, topics.EMBEDDINGS, topics.FEEDBACK),
    ),
    TopicClient(
        name="your services",
        reads=(topics.REPLIES, topics.ALERTS),
        writes=(topics.REQUESTS, topics.EMBEDDINGS, topics.FEEDBACK),
    ),
    TopicClient(name="`headrace analytics`", reads=(topics.ALERTS, topics.ERASURES), writes=(topics.ALERTS,)),
    TopicClient(
        name="`headrace dlq`",
        reads=(topics.DEAD_LETTERS, topics.DEAD_LETTER_ACTIONS),
        writes=(topics.DEAD_LETTER_ACTIONS,),
    ),
    TopicClient(name="`headrace privacy`", writes=(topics.ERASURES,)),
    TopicClient(name="`headrace audit`", reads=(topics.LEDGER,)),
)

STAGES: tuple[StageSpec, ...] = tuple(spec for spec in PIPELINE if spec.kind is ConsumerKind.STAGE)
#: What a worker can run.
WORKER_CONSUMERS: tuple[StageSpec, ...] = (*STAGES, RELAY, WEBHOOKS)
CONSUMER_BY_NAME: Mapping[str, StageSpec] = {spec.name: spec for spec in PIPELINE}

#: Every topic of Headrace, by name.
TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        *(spec.source for spec in PIPELINE),
        *(each for spec in PIPELINE for each in spec.writes),
        *(each for client in CLIENTS for each in (*client.writes, *client.reads)),
    )
}
#: The topics that stages read, by name: the only ones that the relay brings a record back to.
STAGE_SOURCES: Mapping[str, Topic] = {spec.source.name: spec.source for spec in STAGES}
#: Where requests come in, from ingest and from senders of their own.
ENTRANCES: tuple[Topic, ...] = tuple(spec.source for spec in STAGES if spec.source.open)
#: Topics whose records hold texts or names of users.
PERSONAL_TOPICS: tuple[Topic, ...] = tuple(topic for topic in TOPICS.values() if topic.personal)
#: Names of the topics whose reader handles a record that is sent again.
REPLAYABLE: frozenset[str] = frozenset(spec.source.name for spec in PIPELINE if spec.replayable)


def path(entrance: Topic) -> tuple[StageSpec, ...]:
    """Return the stages that a request meets from `entrance` on, if none of them ends it early.

    path(topics.REQUESTS)  # guardrail, cache, llm, output, cost
    """
    readers = {spec.source.name: spec for spec in STAGES}
    found: list[StageSpec] = []
    at: Topic | None = entrance
    while at is not None and (spec := readers.get(at.name)) is not None:
        found.append(spec)
        at = spec.next
    return tuple(found)


#: Names of the topics before a paid call: a replay of their records calls a model again.
PAYING: frozenset[str] = frozenset(
    spec.source.name for spec in STAGES if any(later.spends for later in path(spec.source))
)

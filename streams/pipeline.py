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
from typing import Literal

import msgspec

from streams import topics
from streams.settings import Settings
from streams.topics import Topic

GROUP_PREFIX = "headrace."


class ConsumerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer group: it reads `source` and writes `emits`, besides the dead letters.

    `name` is its name in commands, logs, metrics, dead letters and the consumer group; `in_flight` the
    setting that bounds how many records it works on at once. `replayable`: whether `headrace dlq replay` may
    send a record of its source again. `headrace worker` or `headrace analytics` runs it (`process`).
    """

    name: str
    source: Topic
    emits: tuple[Topic, ...] = ()
    in_flight: str = "stage_in_flight"
    replayable: bool = True
    process: Literal["worker", "analytics"] = "worker"

    @property
    def group(self) -> str:
        """The name of its consumer group."""
        return GROUP_PREFIX + self.name

    @property
    def writes(self) -> tuple[Topic, ...]:
        """Every topic that it writes."""
        return (*self.emits, topics.DEAD_LETTERS)

    def max_in_flight(self, settings: Settings) -> int:
        """Return how many records it works on at once."""
        return int(getattr(settings, self.in_flight))


class StageSpec(ConsumerSpec, frozen=True, kw_only=True):
    """A stage hands a request on to `next`; `emits` holds its other topics, without the retry topic.

    `spends`: whether it calls a paid model. It may then work on a record until its request's deadline.
    """

    next: Topic
    spends: bool = False

    @property
    def writes(self) -> tuple[Topic, ...]:
        """Every topic that it writes."""
        return (self.next, *self.emits, topics.RETRIES, topics.DEAD_LETTERS)


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
    next=topics.REPLIES,
    emits=(topics.LOGS, topics.LEDGER, topics.WEBHOOKS),
)
#: Stores log records in ClickHouse. It works in batches: `sink_batch_rows` bounds them.
SINK = ConsumerSpec(name="analytics", source=topics.LOGS, in_flight="sink_batch_rows", process="analytics")
#: Stores feedback in ClickHouse, in batches as well.
FEEDBACK = ConsumerSpec(
    name="feedback", source=topics.FEEDBACK, in_flight="sink_batch_rows", process="analytics"
)
#: Brings records on the retry topic back to the stage that put them aside.
RELAY = ConsumerSpec(
    name="retries", source=topics.RETRIES, emits=(topics.OUTCOMES, topics.REPLIES), replayable=False
)
#: Posts the webhooks of requests that have ended.
WEBHOOKS = ConsumerSpec(name="webhooks", source=topics.WEBHOOKS)

#: Every row above, in its order: the one in which a request meets them.
PIPELINE: tuple[ConsumerSpec, ...] = tuple(
    each for each in tuple(globals().values()) if isinstance(each, ConsumerSpec)
)
#: What else reads or writes topics.
CLIENTS: tuple[TopicClient, ...] = (
    TopicClient(
        name="ingest",
        reads=(topics.REPLIES, topics.DELTAS),
        writes=(topics.REQUESTS, topics.EMBEDDINGS, topics.FEEDBACK, topics.CONTROL),
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
    TopicClient(name="every process", reads=(topics.CONTROL,)),
    TopicClient(name="`headrace control`", reads=(topics.CONTROL,), writes=(topics.CONTROL,)),
    TopicClient(name="`headrace privacy`", writes=(topics.ERASURES,)),
    TopicClient(name="`headrace audit`", reads=(topics.LEDGER,)),
)

STAGES: tuple[StageSpec, ...] = tuple(spec for spec in PIPELINE if isinstance(spec, StageSpec))
#: What a worker can run.
WORKER_CONSUMERS: tuple[ConsumerSpec, ...] = tuple(spec for spec in PIPELINE if spec.process == "worker")

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
    while (spec := readers.get(entrance.name)) is not None:
        found.append(spec)
        entrance = spec.next
    return tuple(found)


#: Names of the topics before a paid call: a replay of their records calls a model again.
PAYING: frozenset[str] = frozenset(
    spec.source.name for spec in STAGES if any(later.spends for later in path(spec.source))
)

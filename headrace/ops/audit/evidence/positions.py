"""How far the consumer groups have come: the stages, the sink, and whoever reads the retry topic."""

from headrace.ops.audit.evidence.kafka_reader import KafkaReader
from headrace.ops.audit.evidence.records import Committed
from streams import pipeline
from streams.topics import LOGS, RETRIES

#: Which topic each stage's group reads.
STAGE_SOURCES = {spec.group: spec.source.name for spec in pipeline.STAGES}
SINK = (pipeline.SINK.group, pipeline.SINK.source.name)


class Positions:
    """Where each group stands.

    Taken before the topics are read: what a group had finished by then, and so everything that it made of it,
    is in what is read afterwards.

    Attributes:
        stages: of the stages.
        sink: of the analytics sink.
        retrying: of every group that reads the retry topic.
    """

    def __init__(
        self, stages: tuple[Committed, ...], sink: Committed, retrying: tuple[Committed, ...]
    ) -> None:
        self.stages = stages
        self.sink = sink
        self.retrying = retrying

    @classmethod
    async def read(cls, reader: KafkaReader) -> "Positions":
        """Ask the brokers.

        Raises:
            KafkaUnavailable: none answers in time.
        """
        commits = await reader.committed(pipeline.GROUP_PREFIX)
        topics = {*STAGE_SOURCES.values(), LOGS.name, RETRIES.name}
        ends, begins = await reader.ends(topics), await reader.begins(topics)

        async def stand(group: str, topic: str) -> Committed:
            done = commits.get(group, {})
            here = {place: end for place, end in ends.items() if place.topic == topic}
            # What retention has deleted is no work any more; and a new group begins at the beginning.
            standing = {place: max(done.get(place, 0), begins[place]) for place in here}
            behind = {place: offset for place, offset in standing.items() if offset < here[place]}
            return Committed(
                group=group,
                topic=topic,
                offsets={place.partition: offset for place, offset in standing.items()},
                ends={place.partition: end for place, end in here.items()},
                oldest_ms=min(await reader.times_at(behind), default=None),
            )

        retrying = [
            name for name, places in commits.items() if any(place.topic == RETRIES.name for place in places)
        ]
        return cls(
            stages=tuple([await stand(group, topic) for group, topic in STAGE_SOURCES.items()]),
            sink=await stand(*SINK),
            retrying=tuple([await stand(group, RETRIES.name) for group in retrying]),
        )

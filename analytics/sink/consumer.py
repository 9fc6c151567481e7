"""The Kafka consumer that the sink and feedback share."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, Self

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from analytics.sink.batches import BatchLimits
from analytics.status import ConsumerStatus
from streams.errors import KafkaUnavailable
from streams.kafka.clients import start_client, stop_client
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import ConsumerSpec
from streams.settings import Settings
from streams.tasks import unless_stopped

log = structlog.get_logger(__name__)

#: Rows wait for others anyway, and an answer to a fetch costs broker and sink the same for one as for many.
FETCH_WAIT_MS = 250
_FETCH_MIN_BYTES = 32 * 1024
_POLL_MS = 100
_POLL_RECORDS = 2_000
_NOWHERE = TopicPartition("", 0)
_FETCH_BYTES_PER_PARTITION = 1024 * 1024  # a larger record still comes, alone
_SESSION_TIMEOUT_MS = 6_000  # a replica that died is replaced after this; one that restarts rejoins at once
_HEARTBEAT_MS = 1_000
_REBALANCE_TIMEOUT_MS = 30_000


class ConsumerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer reads, and as whom.

    `instance_id` is the replica's stable name in the group; `auth` tells which records Headrace wrote;
    `fetch_wait_ms` is how long a broker holds a fetch for which it has less than `fetch_min_bytes`.
    """

    bootstrap: str
    topic: str
    instance_id: str
    group: str
    auth: RecordAuth = UNSIGNED
    kafka_timeout_s: float = 15.0
    fetch_wait_ms: int = FETCH_WAIT_MS
    fetch_min_bytes: int = 1

    @classmethod
    def of(cls, settings: Settings, spec: ConsumerSpec, **given: Any) -> Self:
        """Return the configuration of a group of this installation."""
        return cls(
            bootstrap=settings.kafka_bootstrap,
            topic=spec.source.name,
            group=spec.group,
            instance_id=settings.instance_id,
            auth=RecordAuth.from_settings(settings),
            kafka_timeout_s=settings.kafka_timeout_s,
            **given,
        )


class SinkConfig(ConsumerConfig, frozen=True, kw_only=True):
    """How the sink reads.

    `buffer_bytes` bounds the records that wait in memory, over all partitions; `batch` when they are
    written.
    """

    fetch_min_bytes: int = _FETCH_MIN_BYTES
    batch: BatchLimits
    buffer_bytes: int = 16 * 1024 * 1024


class BatchConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """A member of a consumer group that reads in batches, and commits what it has settled itself.

    It is a static member of its group: a replica that restarts gets its partitions back at once, and nobody
    else's move.
    """

    def __init__(self, config: ConsumerConfig, status: ConsumerStatus) -> None:
        self._config = config
        self._status = status
        self._consumer: AIOKafkaConsumer = None  # until it is started

    async def run(self, stop: asyncio.Event) -> None:
        """Join the group and work until `stop` is set; then finish what is in hand, and commit it."""
        try:
            if await unless_stopped(stop, self._status.retry("kafka", self._start)):
                self._consumer.subscribe([self._config.topic], listener=self)
                await self._work_until(stop)
        finally:
            await self._close()
            if self._consumer is not None:  # a static member stays in its group
                fault = await stop_client(self._consumer, timeout_s=self._config.kafka_timeout_s)
                if fault is not None:
                    log.warning(self._status.event("stop_failed"), error=fault)
            log.info(self._status.event("stopped"), records=self._status.records)

    @abstractmethod
    async def _work_until(self, stop: asyncio.Event) -> None:
        """Read and settle records until `stop` is set, then settle what is in hand."""

    async def _close(self) -> None:
        """End what runs beside the consumer."""

    async def _start(self) -> None:
        config = self._config
        consumer = AIOKafkaConsumer(
            bootstrap_servers=config.bootstrap.split(","),
            client_id=f"{config.group}.{config.instance_id}",
            group_id=config.group,
            group_instance_id=config.instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=_SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            rebalance_timeout_ms=_REBALANCE_TIMEOUT_MS,
            max_partition_fetch_bytes=_FETCH_BYTES_PER_PARTITION,
            fetch_max_wait_ms=config.fetch_wait_ms,
            fetch_min_bytes=config.fetch_min_bytes,
        )
        starting = start_client(consumer, timeout_s=config.kafka_timeout_s)
        try:
            await asyncio.wait_for(starting, config.kafka_timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            raise KafkaUnavailable(f"no Kafka broker at {config.bootstrap}: {fault!r}") from fault
        self._consumer = consumer

    async def _fetch(
        self, wanted: Collection[TopicPartition], *, wait_ms: int = _POLL_MS
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Return what has come of the wanted partitions, after `wait_ms` at the latest.

        What was fetched of others waits for them to be wanted again, and no more of them is fetched
        meanwhile. Pausing them would throw it away, to be fetched once more. It is to be called even while
        nothing is wanted: a consumer that does not ask is put out of its group.
        """
        try:
            # Asked for no partitions, aiokafka takes it for all of them.
            found: dict[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(
                *(wanted or (_NOWHERE,)), timeout_ms=wait_ms, max_records=_POLL_RECORDS
            )
        except KafkaError as fault:  # what aiokafka cannot put right itself
            self._status.failed("kafka", repr(fault))
            await asyncio.sleep(1)
            return {}
        return found

    async def _try_commit(self, commit: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        try:
            await asyncio.wait_for(self._consumer.commit(commit), self._config.kafka_timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            raise KafkaUnavailable(f"the commit of {commit} failed: {fault!r}") from fault

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take note. A partition is opened with the first record that arrives from it."""
        self._status.assigned(len(assigned))


def silence_s(consumer: AIOKafkaConsumer) -> float:
    """Return how long no broker has answered a fetch, in seconds; 0 where none has answered yet.

    In an outage aiokafka retries by itself and its polls just stay empty, which looks like an idle topic. It
    grows as well while nothing is asked for.
    """
    answers = [
        at for where in consumer.assignment() if (at := consumer.last_poll_timestamp(where)) is not None
    ]
    return max(time.time() - max(answers) / 1000, 0.0) if answers else 0.0

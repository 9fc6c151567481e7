"""The topic `llm.alerts.v1`: which process may write it, what it holds, and its copy for analysts.

The topic is the only place that records which alerts stand. So a change of state is published exactly once
over crashes and restarts:

- One process is the leader: the one that a consumer group has assigned the topic's first partition to.
- Before it reads the topic, the leader opens a producer under a transactional id that all processes share.
  From then on the broker refuses the writes of earlier leaders, and aborts their open transactions.
- Each record is a transaction. Where its outcome is unknown, the leader takes over anew: it reads the topic.

Readers of committed records see each change once. Its `ce_id` identifies it in any case.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import structlog
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
)
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from analytics.alerts.alert_states import AlertSeries
from analytics.clickhouse import ClickHouse
from streams.codec import encode, event_headers
from streams.errors import KafkaUnavailable
from streams.events import AlertRaised
from streams.kafka.clients import start_client, stop_client
from streams.kafka.inspector import KafkaInspector
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.redelivery import own_event
from streams.times import micros
from streams.topics import ALERTS

log = structlog.get_logger(__name__)

T = TypeVar("T")

_TABLE = "alerts_raw"
_TIMES = ("window_since", "window_until", "began_at", "at")
_COLUMNS = (
    *("alert_id", "state", "tenant", "rule", "direction", "severity", "observed", "expected", "unit"),
    *("method", "message", "p_value", "history_windows", *_TIMES),
)

GROUP = "headrace.watcher"
_SOURCE = "headrace/analytics"

_SESSION_TIMEOUT_MS = 10_000
_HEARTBEAT_MS = 3_000
_TRANSACTION_TIMEOUT_MS = 30_000


@dataclass(eq=False)
class AlertLog(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """The alerts topic, read and written.

    `group` is the consumer group in which the leader is chosen, and the transactional id. One step takes at
    most `timeout_s`.
    """

    bootstrap: str
    _: KW_ONLY
    instance_id: str
    timeout_s: float
    topic: str = ALERTS.name
    group: str = GROUP
    auth: RecordAuth = UNSIGNED
    _member: AIOKafkaConsumer | None = field(default=None, init=False)
    _producer: AIOKafkaProducer | None = field(default=None, init=False)
    _leads: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._first = TopicPartition(self.topic, 0)
        self._inspector = KafkaInspector(self.bootstrap, client_id=self.group, timeout_s=self.timeout_s)

    async def is_leader(self) -> bool:
        """Return whether this process is the leader, which watches. To be called every few minutes."""
        if self._member is None:
            self._member = await self._join()
        await self._ask("asking who watches", self._member.getmany(timeout_ms=0))
        self._member.pause(*self._member.assignment())
        return self._leads

    async def take_over(self) -> list[AlertRaised]:
        """Fence off earlier writers, and return what the topic holds, each key's records in order."""
        await self.resign()
        producer: AIOKafkaProducer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap.split(","),
            client_id=f"{self.group}.{self.instance_id}",
            transactional_id=self.group,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            request_timeout_ms=int(self.timeout_s * 1000),
        )
        starting = start_client(producer, timeout_s=self.timeout_s)
        await self._ask("opening a transaction", starting)
        self._producer = producer
        return await self._read()

    async def publish(self, event: AlertRaised) -> None:
        """Write one record. Whatever goes wrong, only `take_over` tells whether it was written."""
        if self._producer is None:
            raise KafkaUnavailable("the alerts topic was not taken over yet")
        await self._ask(f"writing to {self.topic}", self._write(self._producer, event))

    async def judged_until(self) -> datetime | None:
        """Return the end of the last window that any process has judged; None where there is none."""
        found = (await self._inspector.commits(self.group, [self._first]))[self._first]
        try:
            return datetime.fromisoformat(found.metadata or "")
        except ValueError:
            return None

    async def note_judged(self, until: datetime) -> None:
        """Store the end of the last judged window in the metadata of the group's offset, for a restart."""
        if self._member is None:
            raise KafkaUnavailable("not a member of the group")
        commit = {self._first: OffsetAndMetadata(0, until.isoformat())}
        await self._ask("noting what was judged", self._member.commit(commit))

    async def resign(self) -> None:
        """Stop writing."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await self._end(producer)

    async def stop(self) -> None:
        """Disconnect. The group keeps this replica's place for a while, so that it can restart."""
        await self.resign()
        await self._inspector.close()
        member, self._member = self._member, None
        if member is not None:
            await self._end(member)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Stop leading."""
        del revoked
        self._leads = False

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Lead, if the first partition is assigned."""
        self._leads = self._first in set(assigned)
        if self._leads:
            log.info("watcher.chosen", instance=self.instance_id)

    async def _join(self) -> AIOKafkaConsumer:
        member = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap.split(","),
            client_id=f"{self.group}.{self.instance_id}",
            group_id=self.group,
            group_instance_id=self.instance_id,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=_SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
        )
        await self._ask("joining", start_client(member, timeout_s=self.timeout_s))
        member.subscribe([self.topic], listener=self)
        return member

    async def _write(self, producer: AIOKafkaProducer, event: AlertRaised) -> None:
        key, value = AlertSeries.of(event).key.encode(), encode(event)
        headers = event_headers(
            event, event_id=f"{event.alert_id}:{event.state}", source=_SOURCE, at=event.at
        )
        signed = self.auth.signed(self.topic, key, value, tuple(headers))
        # Where this fails the producer is given up, and whoever takes over ends its transaction.
        await producer.begin_transaction()
        await producer.send_and_wait(self.topic, value=value, key=key, headers=list(signed))
        await producer.commit_transaction()

    async def _read(self) -> list[AlertRaised]:
        reader = KafkaInspector(
            self.bootstrap,
            client_id=f"{self.group}.{self.instance_id}.reader",
            timeout_s=self.timeout_s,
            committed_only=True,
        )
        try:
            partitions = await reader.partitions([self.topic])
            begins = await reader.beginning_offsets(partitions)
            ends = await reader.end_offsets(partitions)
            records = [each async for each in reader.read_between(begins, ends)]
        finally:
            await reader.close()
        events = (own_event(each, AlertRaised, self.auth, reader="watcher") for each in records)
        return [event for event in events if event is not None]

    async def _ask(self, what: str, call: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(call, self.timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            raise KafkaUnavailable(f"{what} failed: {fault!r}") from fault

    async def _end(self, client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
        if (fault := await stop_client(client, timeout_s=self.timeout_s)) is not None:
            log.info("watcher.close_failed", error=fault)


async def store_alerts(clickhouse: ClickHouse, events: Sequence[AlertRaised]) -> None:
    """Copy records of the topic to ClickHouse, for analysts; storing one again changes nothing."""
    if not events:
        return
    ids = "\n".join(f"{event.alert_id}:{event.state}" for event in events)
    token = f"alerts:{hashlib.sha256(ids.encode()).hexdigest()}"
    await clickhouse.insert(_TABLE, _COLUMNS, [_row(event) for event in events], token=token)


def _row(event: AlertRaised) -> tuple[Any, ...]:
    values = {name: getattr(event, name) for name in _COLUMNS}
    return tuple(micros(value) if name in _TIMES else value for name, value in values.items())

"""A consumer group as a Faust app: one app per row of the pipeline, any mix of them in one process."""

import asyncio
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import faust
import msgspec

from agents.runner import transport
from agents.runner.keyed_tasks import KeyedTasks
from agents.runner.transport import PartitionProgress, SafeConsumer
from agents.runner.watchdog.consumer_progress import ConsumerProgress, RecordCounts, RecordWork
from agents.stage import Record
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import ConsumerSpec
from streams.settings import Settings

#: A dead member is noticed after the session timeout. One that restarts with the same instance id takes its
#: partitions back at once (measured: 15 ms instead of 60 s).
_SESSION_TIMEOUT_S = 6.0
_HEARTBEAT_S = 0.5
REBALANCE_TIMEOUT_S = 60.0
_COMMIT_INTERVAL_S = 0.5

#: Works on a record. True: it has its durable outcome, and may be acknowledged. False: it must be delivered
#: again.
Run = Callable[[Record, RecordWork], Awaitable[bool]]


class ConsumerView(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer is doing at one moment, for the watchdog, probes and metrics.

    Attributes:
        name: of its stage.
        limit: how many records it works on at most.
        held: how many it holds; some may wait for one of the same key.
        in_flight: those that are being worked on, the oldest first.
        partitions: what is assigned to it.
        joined: whether it ever had an assignment, be it an empty one.
        rebalancing: whether its group is being rebalanced.
        rebalances: how often it was.
        polls: how often it has asked for records.
        last_begin_at: when it last began with a record, in seconds of the watchdog's clock.
        last_ack_at: when it last acknowledged one.
        counts: what became of its records.
    """

    name: str
    limit: int
    held: int
    in_flight: tuple[RecordWork, ...]
    partitions: tuple[PartitionProgress, ...]
    joined: bool
    rebalancing: bool
    rebalances: int
    polls: int
    last_begin_at: float
    last_ack_at: float | None
    counts: RecordCounts

    @property
    def lag(self) -> int:
        """How many records of its partitions are not committed."""
        return sum(each.lag for each in self.partitions)


class StageApp:
    """A Faust app with one agent, which runs a function over the records of a topic.

    Args:
        spec: its row in `streams.pipeline`: name, consumer group, topic, and how many records it works on
            at once; the rest waits in Kafka.
        run: brings each record to its outcome.
        settings: brokers, names and time-outs.
        now: the watchdog's clock, in seconds.
        on_drain: called when a rebalance or a stop begins to wait for what is in flight.
        on_assigned: called when there is a new assignment, before any of its records is delivered.
    """

    def __init__(
        self,
        spec: ConsumerSpec,
        run: Run,
        settings: Settings,
        *,
        now: Callable[[], float],
        on_drain: Callable[[], None] | None = None,
        on_assigned: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = spec.name
        self._run = run
        self._auth = RecordAuth.from_settings(settings)
        self._limit = spec.max_in_flight(settings)
        self._on_drain = on_drain
        self._on_assigned = on_assigned
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._tasks = KeyedTasks(self._limit, self._fail)
        self._assigned = asyncio.Event()
        self._progress = ConsumerProgress(now)
        # Faust makes a folder for tables, even where there are none.
        folder = Path(tempfile.mkdtemp(prefix=f"headrace-faust-{spec.name}-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.app = _faust_app(spec, settings, self._limit, folder)
        source = self.app.topic(spec.source.name, key_serializer="raw", value_serializer="raw")
        self.app.agent(source, name=spec.group)(self._consume)
        self.app.on_partitions_assigned.connect(self._assign)

    async def start(self) -> None:
        """Join the consumer group; returns once partitions are assigned."""
        self.app.finalize()
        await self.app.start()
        await self._assigned.wait()

    async def stop(self) -> None:
        """Stop fetching, finish what is in flight within the drain time-out, commit, leave."""
        await self.app.stop()

    def view(self) -> ConsumerView:
        """Return what the app is doing. Asks nobody."""
        joined = self._assigned.is_set()
        return ConsumerView(
            name=self.name,
            limit=self._limit,
            held=self._tasks.in_flight,
            in_flight=self._progress.in_flight,
            partitions=self._consumer.partition_progress() if joined else (),
            joined=joined,
            rebalancing=self.app.rebalancing,
            rebalances=self.app.rebalancing_count,
            polls=self._consumer.polls if joined else 0,
            last_begin_at=self._progress.last_begin_at,
            last_ack_at=self._progress.last_ack_at,
            counts=self._progress.counts,
        )

    async def wait_crashed(self) -> BaseException:
        """Return the fault that ended the app."""
        crashed: asyncio.Future[Any] = asyncio.ensure_future(self.app._crashed.wait())  # noqa: SLF001  # mode has no public way
        try:
            waiting: list[asyncio.Future[Any]] = [crashed, self._failed]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            crashed.cancel()
        if self._failed.done():
            return self._failed.result()
        return self.app.crash_reason or RuntimeError(f"stage {self.name} crashed")

    @property
    def _consumer(self) -> SafeConsumer:
        consumer: Any = self.app.consumer
        return cast("SafeConsumer", consumer)

    def _fail(self, fault: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_result(fault)

    async def _assign(self, *_: object, **__: object) -> None:
        self._consumer.on_drain = self._on_drain
        self._on_assigned()
        self._assigned.set()

    async def _consume(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self._tasks.submit(event.message.key, self._work(stream, event))

    def _work(self, stream: Any, event: Any) -> Callable[[], Any]:
        # The closure keeps the event alive: Faust tracks what is in flight by weak references.
        async def work() -> None:
            record = _record(event.message, self._auth)
            work = self._progress.begin(record)
            try:
                done = await self._run(record, work)
                if done:
                    await stream.ack(event)
                else:
                    self._consumer.hand_back(event.message)
                self._progress.end(work, acked=done)
            finally:
                self._progress.abandon(work)

        return work


def _faust_app(spec: ConsumerSpec, settings: Settings, in_flight: int, folder: Path) -> faust.App:
    transport.register()
    transport.SafeConsumer.drain_timeout_s = settings.drain_timeout_s
    transport.SafeConsumer.revoke_drain_s = settings.revoke_drain_s
    return faust.App(
        spec.group,
        broker=[f"{transport.SCHEME}://{host}" for host in settings.kafka_bootstrap.split(",")],
        set_as_current=False,
        autodiscover=False,
        web_enabled=False,
        datadir=folder,
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{settings.instance_id}.{spec.name}",
        broker_session_timeout=_SESSION_TIMEOUT_S,
        broker_heartbeat_interval=_HEARTBEAT_S,
        broker_rebalance_timeout=REBALANCE_TIMEOUT_S,
        broker_commit_interval=_COMMIT_INTERVAL_S,
        # Twice what is in flight is the back-pressure: the rest of a burst waits in Kafka.
        broker_max_poll_records=2 * in_flight,
        stream_buffer_maxsize=2 * in_flight,
        stream_wait_empty=True,
        producer_request_timeout=30.0,
    )


def _record(message: Any, auth: RecordAuth) -> Record:
    return Record.read(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=round((message.timestamp or 0) * 1000),
        key=message.key,
        value=message.value,
        headers=_headers(message.headers),
        auth=auth,
    )


def _headers(headers: Any) -> Any:
    return headers.items() if hasattr(headers, "items") else headers or ()

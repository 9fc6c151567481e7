"""A consumer group as a Faust app: one app per row of the pipeline, any mix of them in one process."""

import asyncio
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
import msgspec
from aiokafka.structs import ConsumerRecord
from faust.app import BootStrategy

from agents.runner.assignment import Assignment, PartitionProgress, RecordBatch
from agents.runner.group_consumer import GroupConsumer
from agents.runner.in_flight import ConsumerProgress, KeyedTasks, RecordCounts, RecordWork
from agents.stage import Record
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import ConsumerSpec
from streams.settings import Settings

#: Works on a record, and returns whether it has its durable outcome; if not, it must be delivered again.
Run = Callable[[Record, RecordWork], Awaitable[bool]]
#: When a record that another worker has taken over is looked at again; it should have ended by then.
_AGAIN_S, _AGAIN_MAX_S = 5.0, 40.0


class ConsumerView(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer is doing, for the watchdog, probes and metrics. Times are in seconds of its clock."""

    name: str
    limit: int  # of records that it works on at once
    held: int  # some of them may wait for one of the same key
    in_flight: tuple[RecordWork, ...]  # the oldest first
    partitions: tuple[PartitionProgress, ...]
    joined: bool  # it has had an assignment, be it an empty one
    rebalancing: bool
    rebalances: int
    polls: int  # how often it has asked for records
    last_begin_at: float
    last_ack_at: float | None
    counts: RecordCounts

    @property
    def lag(self) -> int:
        """How many records of its partitions are not committed."""
        return sum(each.lag for each in self.partitions)


class _ChannelOnly(BootStrategy):
    """What Faust starts of an app: its agents. Records come over a channel, not from Faust's consumer."""

    enable_kafka = False


class _NoConsumer:
    """Stands where a Faust stream looks for Faust's own consumer, which has nothing in flight here."""

    def __init__(self) -> None:
        self.unacked = self._unacked_messages = set[Any]()
        self.assignment = set[Any]


class _App(faust.App):
    BootStrategy = _ChannelOnly

    async def on_start(self) -> None:
        """Make ready, without what Faust does for its consumer."""
        self.finalize()

    def _new_consumer(self) -> Any:
        return _NoConsumer()


class StageApp:
    """A Faust app with one agent, which runs a function over the records of a topic.

    A fetch of `agents.runner.group_consumer` goes to the agent as one batch; the records of a batch are
    worked on side by side, those with the same key one after the other. `run` brings each to its outcome;
    `now` is the watchdog's clock, in seconds; for `on_drain` and `on_assigned` see there.
    """

    def __init__(
        self,
        spec: ConsumerSpec,
        run: Run,
        settings: Settings,
        *,
        now: Callable[[], float],
        on_drain: Callable[[], None] = lambda: None,
        on_assigned: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = spec.name
        self._run = run
        self._auth = RecordAuth.from_settings(settings)
        self._limit = spec.max_in_flight(settings)
        self._on_assigned = on_assigned
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._tasks = KeyedTasks(self._limit, self._fail)
        self._assigned = asyncio.Event()
        self._progress = ConsumerProgress(now)
        # Faust makes a folder for tables, even where there are none.
        folder = Path(tempfile.mkdtemp(prefix=f"headrace-faust-{spec.name}-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.app = _App(
            spec.group, set_as_current=False, autodiscover=False, web_enabled=False, datadir=folder
        )
        #: One batch waits while one is being begun: the rest of a burst waits in Kafka.
        self._batches = self.app.channel(maxsize=1)
        self.app.agent(self._batches, name=spec.group)(self._consume)
        self.consumer = GroupConsumer(
            spec,
            settings,
            deliver=lambda batch: self._batches.send(value=batch),
            on_assigned=self._assign,
            on_drain=on_drain,
            on_fault=self._fail,
        )

    async def start(self) -> None:
        """Join the consumer group; returns once partitions are assigned."""
        self.app.finalize()
        await self.app.start()
        self.app.flow_control.resume()  # Faust opens its channels with its own consumer, which is not used
        await self.consumer.start()
        await self._assigned.wait()

    async def stop(self) -> None:
        """Stop fetching, finish what is in flight within the drain time-out, commit, disconnect."""
        await self.consumer.stop()
        await self.app.stop()

    def view(self) -> ConsumerView:
        """Return what the app is doing. Asks nobody."""
        return ConsumerView(
            name=self.name,
            limit=self._limit,
            held=self._tasks.in_flight,
            in_flight=self._progress.in_flight,
            partitions=self.consumer.progress(),
            joined=self._assigned.is_set(),
            rebalancing=self.consumer.is_rebalancing,
            rebalances=self.consumer.rebalances,
            polls=self.consumer.polls,
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

    def _fail(self, fault: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_result(fault)

    def _assign(self) -> None:
        self._on_assigned()
        self._assigned.set()

    async def _consume(self, stream: Any) -> None:
        async for batch in stream:
            for record in batch.records:
                if batch.assignment.revoked:
                    break
                await self._tasks.submit(record.key, self._work(record, batch))

    def _work(self, message: ConsumerRecord, batch: RecordBatch) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            assignment, again_s = batch.assignment, _AGAIN_S
            # It may have waited for a slot, or for an earlier record of its key.
            while not assignment.revoked and not await self._run_once(message, assignment):
                # Another worker, which had the partition before, works on it. It holds the commits here.
                await assignment.lasts(again_s)
                again_s = min(2 * again_s, _AGAIN_MAX_S)
            batch.end_one()

        return work

    async def _run_once(self, message: ConsumerRecord, assignment: Assignment) -> bool:
        assignment.begin()
        done = False
        record = Record.of(message, self._auth)
        progress = self._progress.begin(record)
        try:
            done = await self._run(record, progress)
            self._progress.end(progress, acked=done)
        finally:
            self._progress.abandon(progress)
            assignment.end(message, done=done)
        return done

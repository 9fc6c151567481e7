"""A member of a consumer group: hands on records in batches, commits a watermark below what is in flight.

It runs in the worker's event loop, over aiokafka's consumer. docs/decisions/0001-group-consumer.md says why
it is not Faust's, and which losses each rule here prevents.

- A record's offset is committed only once it and all earlier ones of its partition are done.
- When partitions are revoked, no further record is begun; those in flight may end within a bound; what is
  done by then is committed; the rest is delivered again, to the member that has the partition next.
- A member that was expelled from its group commits nothing: a group without members would take it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from agents.runner.assignment import Assignment, PartitionProgress, RecordBatch
from streams.backoff import Backoff
from streams.kafka.clients import start_client, stop_client
from streams.pipeline import ConsumerSpec
from streams.settings import Settings
from streams.tasks import cancel_and_wait

#: A dead member is noticed after this. One that restarts with its instance id is back in 15 ms, not in 60 s.
_SESSION_TIMEOUT_MS = 6_000
_HEARTBEAT_MS = 500
REBALANCE_TIMEOUT_S = 60.0
_COMMIT_INTERVAL_S = 0.5
_COMMIT_TIMEOUT_S = 5.0
#: How long the broker holds a fetch that finds nothing. After a rebalance the next fetch waits behind it.
_FETCH_MAX_WAIT_MS = 500
#: How often an idle consumer returns from asking for records, so that the watchdog sees that it asks.
_POLL_S = 1.0
#: A fetch costs as much for one record as for fifty. So the next batch is asked for when the one before is
#: done, or this much later, and what comes meanwhile comes together. A record that comes alone does not wait.
_COLLECT_S = 0.02
#: aiokafka leaves the group when records were not asked for so long; the watchdog decides that here.
_MAX_POLL_INTERVAL_MS = 2**31 - 1
_FAULT_BACKOFF = Backoff(first_s=0.1, max_s=2.0)

log = structlog.get_logger(__name__)


class GroupConsumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads the topic of a consumer as a static member of its group.

    `deliver` takes a batch, and returns once there is room for the next one. `on_assigned` is called for each
    new assignment, before any of its records is delivered; `on_drain` when a rebalance (for `revoke_drain_s`)
    or a stop (for `drain_timeout_s`) begins to wait for what is in flight; `on_fault` with the bug that ended
    the reading or the commits.
    """

    def __init__(
        self,
        spec: ConsumerSpec,
        settings: Settings,
        *,
        deliver: Callable[[RecordBatch], Awaitable[object]],
        on_assigned: Callable[[], None],
        on_drain: Callable[[], None],
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self._topic = spec.source.name
        self._group = spec.group
        self._instance_id = f"{settings.instance_id}.{spec.name}"
        self._max_records = spec.max_in_flight(settings)
        self._settings = settings
        self._deliver = deliver
        self._on_assigned = on_assigned
        self._on_drain = on_drain
        self._on_fault = on_fault
        self._assignment: Assignment | None = None
        self._reading: asyncio.Task[None] | None = None
        self._commits: asyncio.Task[None] | None = None
        self._committing = asyncio.Lock()
        self.rebalances = 0
        self.polls = 0
        self._consumer: Any = None

    async def start(self) -> None:
        """Connect and begin to read. Returns before there is an assignment."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap.split(","),
            client_id=self._instance_id,
            group_id=self._group,
            group_instance_id=self._instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=_SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            rebalance_timeout_ms=int(REBALANCE_TIMEOUT_S * 1000),
            max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
        )
        await start_client(self._consumer, timeout_s=self._settings.kafka_timeout_s)
        self._consumer.subscribe([self._topic], listener=self)
        self._reading = asyncio.create_task(self._read())
        self._commits = asyncio.create_task(self._commit_regularly())
        for task in (self._reading, self._commits):
            task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Read nothing more, let what is in flight end within the drain time-out, commit, disconnect."""
        await cancel_and_wait(self._reading)  # the commits go on: a drain may take long
        if self._assignment is not None:
            await self._drain(self._assignment, self._settings.drain_timeout_s)
        await cancel_and_wait(self._commits)
        if self._consumer is None:
            return
        if (fault := await stop_client(self._consumer, timeout_s=self._settings.kafka_timeout_s)) is not None:
            log.info("kafka.stop_failed", error=fault)

    @property
    def is_rebalancing(self) -> bool:
        """Whether there is no assignment: before the first one, and while the group is being rebalanced."""
        return self._assignment is None or self._assignment.revoked

    def progress(self) -> tuple[PartitionProgress, ...]:
        """Return how far each assigned partition is. Asks nobody."""
        return self._assignment.progress() if self._assignment is not None else ()

    async def commit(self) -> None:
        """Commit what may be committed, within the commit's time-out; a fault is logged, and tried again."""
        if self._assignment is not None:
            await self._commit(self._assignment)

    async def on_partitions_revoked(self, _revoked: Sequence[TopicPartition]) -> None:
        """Drain and commit what is in flight, and only then let the partitions go."""
        self.rebalances += 1
        try:
            if self._assignment is not None:
                await self._drain(self._assignment, self._settings.revoke_drain_s)
        finally:
            self._assignment = None

    async def on_partitions_assigned(self, _assigned: Sequence[TopicPartition]) -> None:
        """Begin with new partitions, be it with none."""
        self._current()

    def _current(self) -> Assignment | None:
        """Return the assignment as aiokafka has it now: it fetches before it tells its listener."""
        state = self._consumer._subscription  # noqa: SLF001  # there is no public way
        source = state.subscription.assignment
        if source is None or not source.active or state.reassignment_in_progress:
            return None
        if self._assignment is None or self._assignment.source is not source:
            coordinator = self._coordinator
            self._assignment = Assignment(
                source, generation=coordinator.generation, member_id=coordinator.member_id
            )
            self._on_assigned()
        return self._assignment

    @property
    def _coordinator(self) -> Any:
        return self._consumer._coordinator  # noqa: SLF001  # the public commit tries again after a rejoin

    def _is_member(self, assignment: Assignment) -> bool:
        """Whether the group still knows us as the member that it gave the assignment to."""
        coordinator = self._coordinator
        return assignment.generation >= 0 and (coordinator.generation, coordinator.member_id) == (
            assignment.generation,
            assignment.member_id,
        )

    async def _read(self) -> None:
        faults = 0
        while True:
            try:
                fetched = await self._consumer.getmany(
                    timeout_ms=int(_POLL_S * 1000), max_records=self._max_records
                )
            except KafkaError as fault:
                faults += 1
                log.warning("consumer.read_failed", topic=self._topic, error=repr(fault))
                await asyncio.sleep(_FAULT_BACKOFF.wait_s(faults))
                continue
            # Nothing else has run since aiokafka handed the records over: they belong to this assignment.
            faults, self.polls = 0, self.polls + 1
            if fetched and (assignment := self._current()) is not None:
                batch = assignment.deliver(fetched)
                await self._deliver(batch)
                await batch.ended_within(_COLLECT_S)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            await self.commit()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()):
            self._on_fault(fault)

    async def _drain(self, assignment: Assignment, timeout_s: float) -> None:
        self._on_drain()
        await assignment.drain(timeout_s)
        await self._commit(assignment)

    async def _commit(self, assignment: Assignment) -> None:
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S), self._committing:
                await self._coordinator.ensure_coordinator_known()
                offsets = assignment.committable()
                # The request is built before anything else can run, with the membership that is checked here.
                if offsets and self._is_member(assignment):
                    await self._coordinator._do_commit_offsets(  # noqa: SLF001
                        assignment.source, {at: OffsetAndMetadata(each, "") for at, each in offsets.items()}
                    )
                    assignment.committed(offsets)
        except (KafkaError, TimeoutError) as fault:
            log.info("consumer.commit_failed", topic=self._topic, error=repr(fault))

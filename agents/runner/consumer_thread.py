"""The thread in which a consumer talks to the broker, with a seek that loses no records.

Faust's own seek loses records in two ways. It asks aiokafka to seek to the committed offsets, but aiokafka
does not move a partition that has no commit: records of it that were fetched and dropped during a rebalance
are never read again. And a batch that was fetched before the seek may arrive after it; Faust then takes it
for the records that follow the seek.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

#: aiokafka's `OffsetResetStrategy.EARLIEST`, as `request_offset_reset` wants it.
_EARLIEST = -2
#: Faust asks the broker to hold an empty fetch for 1.5 s. What else goes to that broker on its connection
#: waits behind it: where a partition without a commit begins. With 50 ms an idle worker took twice the CPU.
_FETCH_MAX_WAIT_MS = 200
_RESET_TIMEOUT_S = 30.0

#: Faust names a service's log after its module; its chatter belongs to Faust.
faust_log = logging.getLogger("faust.transport.headrace")


class ReadPosition(NamedTuple):
    """A reading position: an assignment and its number of seeks. Batches of another position are stale."""

    seeks: int
    assignment: Assignment | None

    def is_same(self, other: "ReadPosition | None") -> bool:
        """Whether records fetched there follow on records fetched here."""
        return other is not None and self.seeks == other.seeks and self.assignment is other.assignment


class Fetched(dict[Any, Any]):
    """A batch of records by partition, and the position it was fetched from."""

    place: ReadPosition | None = None


class ConsumerThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, with a shorter fetch and a safe seek."""

    logger = faust_log
    _seeks = 0

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_MAX_WAIT_MS  # noqa: SLF001  # hard-coded in Faust, no setting
        return consumer

    @property
    def place(self) -> ReadPosition:
        """Where the consumer reads now."""
        return ReadPosition(self._seeks, self._assignment())

    async def _fetch_records(self, consumer: AIOKafkaConsumer, *args: Any, **kwargs: Any) -> Fetched:
        fetched = Fetched(await super()._fetch_records(consumer, *args, **kwargs))
        # Between aiokafka's handing over the records and this line nothing else runs in this thread.
        fetched.place = self.place
        return fetched

    async def seek_to_committed(self) -> Mapping[Any, Any]:
        """Go back to the committed offsets, and to the start where there are none; return them."""
        committed: Mapping[Any, Any] = await self.call_thread(self._go_back)
        return committed

    async def _go_back(self) -> Mapping[TopicPartition, int | None]:
        consumer, assignment = self._ensure_consumer(), self._assignment()
        if assignment is None:
            return {}
        committed = {at: await consumer.committed(at) for at in sorted(assignment.tps)}
        if self._assignment() is not assignment:
            return committed  # a rebalance came first: it starts from what is committed by itself
        fetcher = consumer._fetcher  # noqa: SLF001  # aiokafka's own seek skips what has no commit
        for at, offset in committed.items():
            if offset is not None:
                fetcher.seek_to(at, offset)
        without = [at for at, offset in committed.items() if offset is None]
        reset = fetcher.request_offset_reset(without, _EARLIEST) if without else None
        # No `await` since the check above: all partitions have moved when others see the new number.
        self._seeks += 1
        if reset is not None:
            await asyncio.wait_for(reset, _RESET_TIMEOUT_S)
        return committed

    def _assignment(self) -> Assignment | None:
        consumer = self._consumer
        subscription = consumer and consumer._subscription.subscription  # noqa: SLF001  # no public way
        return subscription.assignment if subscription else None

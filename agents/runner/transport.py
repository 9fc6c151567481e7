"""A Faust transport that never commits past an event that is still in flight.

Faust 0.15.3 derives the offset to commit from what was *acked*, and gets it wrong as soon as an agent
has more than one event in flight (bugs A to D in docs/decisions/0001-safe-consumer.md): a fast event's
commit passes a slow one, and a crash loses the slow one. This consumer remembers what was *delivered*
instead, and commits up to the lowest delivered offset that is not acked yet.
"""

import logging
import time
from collections import defaultdict, deque
from collections.abc import MutableMapping
from typing import Any, ClassVar

import structlog
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as StockConsumer
from faust.transport.drivers.aiokafka import Transport as StockTransport
from faust.types import TP, Message

SCHEME = "headrace"

#: Faust asks the broker to hold an empty fetch for 1.5 s, and a commit waits behind it.
_FETCH_MAX_WAIT_MS = 50

log = structlog.get_logger(__name__)


#: Faust names a service's log after its module; its chatter belongs to Faust.
_faust_log = logging.getLogger("faust.transport.headrace")


class _ConsumerThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, with a shorter fetch."""

    logger = _faust_log

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_MAX_WAIT_MS  # noqa: SLF001  # hard-coded in Faust, no setting
        return consumer


class SafeConsumer(StockConsumer):
    """A consumer whose commits are a watermark below everything in flight."""

    logger = _faust_log

    #: How long a revoke or a stop waits for events in flight, in seconds; Faust waits for ever.
    drain_timeout_s: ClassVar[float] = 40.0

    _delivered: MutableMapping[TP, deque[int]]
    _watermark: MutableMapping[TP, int]

    def __init__(self, transport: Any, callback: Any, *args: Any, **kwargs: Any) -> None:
        self._delivered = defaultdict(deque)
        self._watermark = {}
        super().__init__(transport, callback, *args, **kwargs)
        self._pass_on = self.callback
        self.callback = self._deliver

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _deliver(self, message: Message) -> None:
        if self.app.topics.acks_enabled_for(message.topic):
            delivered = self._delivered[message.tp]
            # After a seek back the same offsets come again; they are tracked from their first delivery.
            if not delivered or message.offset > delivered[-1]:
                delivered.append(message.offset)
        await self._pass_on(message)

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset after the last delivered one below which everything is acked."""
        delivered, acked = self._delivered[tp], self._acked_index[tp]
        committed = self._committed_offset[tp]
        done = None
        while delivered and (delivered[0] in acked or (committed is not None and delivered[0] < committed)):
            done = delivered.popleft()
            acked.discard(done)
        if done is not None:
            self._watermark[tp] = max(done + 1, self._watermark.get(tp, 0))
            self._forget_below(tp, self._watermark[tp])
        return self._watermark.get(tp)

    def _forget_below(self, tp: TP, offset: int) -> None:
        """Drop acks that a commit already covers: copies of events that were delivered twice."""
        acked = self._acked[tp]
        acked[:] = [each for each in acked if each >= offset]
        self._acked_index[tp].intersection_update(acked)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Ignore gaps in the offsets: what was never delivered is not in flight."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drain and commit what is in flight, and only then forget the partitions."""
        self._active_partitions.difference_update(revoked)
        self._paused_partitions.difference_update(revoked)
        await self._on_partitions_revoked(revoked)
        for tp in revoked:
            self._forget(tp)

    def _forget(self, tp: TP) -> None:
        tracked: tuple[MutableMapping[TP, Any], ...] = (
            self._gap,
            self._acked,
            self._acked_index,
            self._read_offset,
            self._committed_offset,
            self._delivered,
            self._watermark,
        )
        for mapping in tracked:
            mapping.pop(tp, None)

    async def perform_seek(self) -> None:
        """Go back to what is committed: everything after it will be delivered again."""
        self._delivered.clear()
        await super().perform_seek()

    async def seek(self, partition: TP, offset: int) -> None:
        """Go to `offset`: what was delivered of this partition may be delivered again."""
        self._delivered.pop(partition, None)
        await super().seek(partition, offset)

    async def wait_empty(self) -> None:
        """Wait for events in flight, but not for ever: what is left is delivered again elsewhere.

        Faust's own loop swallows a cancellation, so that no timeout around it would end it.
        """
        deadline = time.monotonic() + self.drain_timeout_s
        while not self.should_stop and self._unacked_messages:
            await self.commit()
            if not self._unacked_messages:
                break
            if time.monotonic() >= deadline:
                log.warning("consumer.drain_timed_out", in_flight=len(self._unacked_messages))
                break
            await self._wait_for_ack(timeout=1)
            self._clean_unacked_messages()
        await self.commit_and_end_transactions()


class Transport(StockTransport):
    """The transport behind `headrace://` broker addresses."""

    Consumer = SafeConsumer


def register() -> None:
    """Make Faust know the `headrace://` scheme."""
    TRANSPORTS.aliases[SCHEME] = f"{__name__}:{Transport.__name__}"

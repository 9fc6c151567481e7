"""The relay: brings records from the retry topic back to the topics that they were put aside from.

A record may be relayed twice: the relay ended between its send and its acknowledgement, or a rebalance gave
the record to another one. That does no harm: both copies carry the address of the same first record, and
every stage goes by that. docs/redelivery.md says what a second copy means at each stage.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from agents.runner.dead_letters import DeadLetters
from agents.runner.in_flight import RecordWork
from agents.runner.record_sender import RecordPublisher, RecordSender, stamped, timing
from agents.stage import Record, instant
from streams import codec, pipeline
from streams.errors import InputError, UndecodableRecord
from streams.events import Event
from streams.publisher import Emit
from streams.redelivery import Redelivery, dead_letter, redelivery
from streams.tasks import event_within
from streams.topics import Topic

_NAME = pipeline.RELAY.name

log = structlog.get_logger(__name__)


class Drain:
    """Ends waits when the partitions are about to be taken away."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """The partitions are being revoked, or the app stops: hand back what only waits."""
        self._begun.set()

    def end(self) -> None:
        """There is a new assignment; what was handed back will be delivered again."""
        self._begun.clear()

    async def wait(self, seconds: float) -> bool:
        """Wait, and return whether that was for the whole time."""
        return not await event_within(self._begun, seconds)


class Relay:
    """Holds each record until its time has come, and then publishes it where it came from.

    No record is held longer than `max_delay_s`, whatever its header says. `wait` returns False where it was
    cut short: see `Drain`.
    """

    def __init__(
        self,
        publisher: RecordPublisher,
        dead_letters: DeadLetters,
        *,
        wait: Callable[[float], Awaitable[bool]],
        max_delay_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sender = RecordSender(publisher, stage=_NAME)
        self._dead_letters = dead_letters
        self._wait = wait
        self._max_delay_s = max_delay_s
        self._clock = clock

    async def run(self, record: Record, work: RecordWork) -> bool:
        """Bring a record back once its time has come.

        True: its copy, or its dead letter, is on its topic. False: it was only waiting, and the partition is
        being taken away; it must not be acknowledged, so that it comes again.
        """
        first = redelivery(record.headers)  # a record that Headrace did not write has none of these headers
        topic = pipeline.STAGE_SOURCES.get(first.topic or "")
        if topic is None:
            log.warning("relay.foreign_record", at=record.place)
            work.is_dead = True
            fault = UndecodableRecord(
                "the record's headers name no topic of a stage that it was put aside from"
            )
            await self._sender.send_all((dead_letter(record, stage=_NAME, fault=fault),))
            return True
        delay_s = min(max(first.not_before_ms / 1000 - self._clock(), 0.0), self._max_delay_s)
        work.may_take(delay_s)
        if delay_s and not await self._wait(delay_s):
            return False
        await self._send_back(record, first, topic, work)
        return True

    async def _send_back(self, record: Record, first: Redelivery, topic: Topic, work: RecordWork) -> None:
        copy = Emit(topic=topic.name, key=record.key, value=record.value, headers=record.headers)
        home = msgspec.structs.replace(copy, partition=first.partition)
        if not await self._sender.send_all((home,)):
            return
        # The headers name a partition that does not exist: the producer chooses one by the key.
        lost = await self._sender.send_all((copy,))
        if lost:
            log.error("relay.undeliverable", at=record.place, topic=topic.name, error=str(lost[0].fault))
            await self._make_dead_letter(record, topic, lost[0].fault, work)

    async def _make_dead_letter(
        self, record: Record, topic: Topic, fault: Exception, work: RecordWork
    ) -> None:
        """Keep the record as a dead letter, and tell its sender what the stage would have told."""
        work.is_dead = True
        at_home = msgspec.structs.replace(record, topic=topic.name)
        told = self._dead_letters.tell_sender(at_home, _event(record, topic), fault)
        now = instant(int(self._clock() * 1000))
        entry = timing(_NAME, record, told, started_at=now, ended_at=now)
        letter = dead_letter(record, stage=_NAME, fault=fault)
        await self._sender.send_all((letter, *(stamped(emit, _NAME, entry) for emit in told)))


def _event(record: Record, topic: Topic) -> Event | None:
    try:
        return codec.decode(record.value, topic.event or Event, record.headers)
    except InputError:
        return None

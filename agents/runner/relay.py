"""The relay: brings records from the retry topic back to the topics that they were put aside from.

A record may be relayed twice: the relay ended between its send and its acknowledgement, or a rebalance gave
the record to another one. That does no harm, because both copies stand for the same first record (they carry
its address), and that is what every stage goes by:

- *guardrail*: the registry knows the submission by the address, and takes the second copy for the same one.
- *cache* and *output* decide again what they decided before, and the repeat is recognised further down.
- *llm*: the journal holds the request under the address. Both copies go to the partition that the first
  record had, so that one worker has them, one after the other: the second finds the result sent, and ends.
  If the first copy's worker has died, the second takes over from it, as a redelivery would; a holder that is
  alive after all is fenced by its attempt number.
- *embeddings*: both, as in *guardrail* and as in *llm*.
- *cost*: the second copy finds the request settled. Where Redis lost that, replies, log and ledger entries
  have ids of their own by which a repeat is recognised.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from agents.pipeline import RELAY
from agents.runner.dead_letters import DeadLetters
from agents.runner.outgoing import stamped, timing
from agents.runner.sending import Publishes, Sends
from agents.runner.watchdog.consumer_progress import Work
from agents.stage import Record, instant
from streams import codec
from streams.dead_letters import dead_letter
from streams.errors import InputError, UndecodableRecord
from streams.events import Event
from streams.publisher import Emit
from streams.redelivery import Redelivery, redelivery
from streams.topics import COMPLETIONS, EMBEDDINGS, GUARDED, MISSES, OUTCOMES, REQUESTS, RETRIES, Topic

SOURCE = RETRIES

#: The only topics that a record is brought back to, whatever its headers say.
_STAGE_INPUTS = {
    topic.name: topic for topic in (REQUESTS, GUARDED, MISSES, COMPLETIONS, EMBEDDINGS, OUTCOMES)
}

log = structlog.get_logger(__name__)


class Drain:
    """Says when the partitions are about to be taken away, so that nobody waits any longer."""

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
        if self._begun.is_set():
            return False
        try:
            await asyncio.wait_for(self._begun.wait(), max(seconds, 0.0))
        except TimeoutError:
            return True
        return False


class Relay:
    """Holds each record until its time has come, and then publishes it where it came from.

    Args:
        publisher: where to.
        dead_letters: what to do with what cannot be brought back.
        max_delay_s: the longest time that a record is held for, whatever its header says.
        wait: waits so many seconds, and says whether it was left to; see `Drain`.
        clock: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        publisher: Publishes,
        dead_letters: DeadLetters,
        *,
        wait: Callable[[float], Awaitable[bool]],
        max_delay_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sends = Sends(publisher, stage=RELAY)
        self._dead_letters = dead_letters
        self._wait = wait
        self._max_delay_s = max_delay_s
        self._clock = clock

    async def run(self, record: Record, work: Work) -> bool:
        """Bring a record back once its time has come.

        Returns:
            Whether its copy, or its dead letter, is on its topic. False: it was only waiting, and the
            partition is being taken away; it must not be acknowledged, so that it comes again.
        """
        origin = redelivery(
            record.headers
        )  # of a record that Headrace did not write, nothing is left of them
        topic = _STAGE_INPUTS.get(origin.topic or "")
        if topic is None:
            await self._bury_foreign(record, work)
            return True
        delay_s = min(max(origin.not_before_ms / 1000 - self._clock(), 0.0), self._max_delay_s)
        work.may_take(delay_s)
        if delay_s and not await self._wait(delay_s):
            return False
        await self._send_back(record, origin, topic, work)
        return True

    async def _send_back(self, record: Record, origin: Redelivery, topic: Topic, work: Work) -> None:
        copy = Emit(topic=topic.name, key=record.key, value=record.value, headers=record.headers)
        home = msgspec.structs.replace(copy, partition=origin.partition)
        if not await self._sends.all((home,)):
            return
        # Somebody else's headers named a partition that is not there; the key knows a better one.
        lost = await self._sends.all((copy,))
        if lost:
            log.error("relay.undeliverable", at=record.place, topic=topic.name, error=str(lost[0].fault))
            await self._bury(record, topic, lost[0].fault, work)

    async def _bury_foreign(self, record: Record, work: Work) -> None:
        log.warning("relay.foreign_record", at=record.place)
        work.buried = True
        fault = UndecodableRecord("the record's headers name no topic of a stage that it was put aside from")
        await self._sends.all((dead_letter(record, stage=RELAY, fault=fault),))

    async def _bury(self, record: Record, topic: Topic, fault: Exception, work: Work) -> None:
        """Keep the record as a dead letter, and tell its sender what the stage would have told."""
        work.buried = True
        at_home = msgspec.structs.replace(record, topic=topic.name)
        told = self._dead_letters.tell(at_home, _event(record, topic), fault)
        now = instant(int(self._clock() * 1000))
        entry = timing(RELAY, record, told, started_at=now, ended_at=now)
        letter = dead_letter(record, stage=RELAY, fault=fault)
        await self._sends.all((letter, *(stamped(emit, RELAY, entry) for emit in told)))


def _event(record: Record, topic: Topic) -> Event | None:
    try:
        return codec.decode(record.value, topic.event or Event, record.headers)
    except InputError:
        return None

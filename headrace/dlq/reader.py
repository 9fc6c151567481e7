"""Dead letters and the actions on them, as they lie on their two topics."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

import structlog
from aiokafka import ConsumerRecord

from headrace.dlq.filters import Filters
from headrace.dlq.letters import DeadRecord, Letter, Place, letter_of
from headrace.dlq.selection import Selection
from headrace.dlq.standing import Standings
from headrace.dlq.topic_reader import TopicReader
from streams.codec import decode
from streams.errors import UndecodableRecord
from streams.events import DeadLetterAction
from streams.record_auth import UNSIGNED, RecordAuth
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS

_MAX_HISTORY = 1_000

log = structlog.get_logger(__name__)


class DeadLetterReader:
    """Reads dead letters; every method raises `KafkaUnavailable` where no broker answers in time.

    Args:
        topics: what it reads with, connected.
        auth: tells which letters and actions Headrace wrote.
    """

    def __init__(self, topics: TopicReader, auth: RecordAuth = UNSIGNED) -> None:
        self._topics = topics
        self._auth = auth

    async def select(self, filters: Filters, *, limit: int) -> Selection:
        """Return the newest letters that are meant, of those that were there when reading began.

        Letters are read one after the other, and only what a list shows of them is kept.
        """
        spans = await self._topics.spans(DEAD_LETTERS.name, since_ms=filters.since_ms)
        within = {partition.partition: span for partition, span in spans.items()}
        standings = await self.standings(lambda place: place.offset in within.get(place.partition, ()))
        selection = Selection(filters, limit=limit)
        async for record in self._topics.read(spans):
            letter = letter_of(_dead_record(record, self._auth))
            selection.offer(letter, standings.of(letter.place))
        return selection

    async def find(self, place: Place) -> tuple[DeadRecord, Letter] | None:
        """Return one dead record and what is known of it; None where it never was, or has expired."""
        record = await self._topics.record_at(DEAD_LETTERS.name, place.partition, place.offset)
        if record is None:
            return None
        dead = _dead_record(record, self._auth)
        return dead, letter_of(dead)

    async def standings(self, wanted: Callable[[Place], bool]) -> Standings:
        """Return where the wanted letters stand."""
        standings = Standings(wanted)
        async for action in self._actions():
            standings.add(action)
        return standings

    async def history(self, place: Place) -> Sequence[DeadLetterAction]:
        """Return what was done with a letter, the oldest first; of very many actions the last ones."""
        found = deque[DeadLetterAction](maxlen=_MAX_HISTORY)
        async for action in self._actions():
            if action.dead_letter == str(place):
                found.append(action)
        return tuple(found)

    async def _actions(self) -> AsyncIterator[DeadLetterAction]:
        """Yield every action that is kept. Those on one letter share a key, so they come in order."""
        async for record in self._topics.read(await self._topics.spans(DEAD_LETTER_ACTIONS.name)):
            if not self._auth.wrote(record):
                log.warning("dlq.unauthentic_action", partition=record.partition, offset=record.offset)
                continue
            try:
                yield decode(record.value, DeadLetterAction, record.headers)
            except UndecodableRecord as fault:
                log.warning(
                    "dlq.no_action", partition=record.partition, offset=record.offset, error=str(fault)
                )


def _dead_record(record: ConsumerRecord, auth: RecordAuth) -> DeadRecord:
    authentic, headers = auth.read(record.topic, record.key, record.value, record.headers)
    return DeadRecord(
        place=Place(record.partition, record.offset),
        written_ms=record.timestamp,
        key=record.key,
        value=record.value,
        headers=headers,
        authentic=authentic,
    )

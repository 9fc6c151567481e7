"""Dead letters and the actions on them, as they lie on their two topics."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import structlog
from aiokafka import ConsumerRecord

from headrace.ops.dlq.filters import Filters
from headrace.ops.dlq.letters import DeadRecord, Letter, Place, letter_of
from headrace.ops.dlq.selection import Selection
from headrace.ops.dlq.standing import Standings
from headrace.ops.dlq.topic_reader import TopicReader
from streams.codec import decode
from streams.errors import UndecodableRecord
from streams.events import DeadLetterAction, LedgerEntry
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import PAYING
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS, LEDGER

_MAX_HISTORY = 1_000
_REPEATS_WITHIN_MS = 24 * 60 * 60 * 1000

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

    async def charges(self, places: Sequence[Place]) -> Mapping[str, LedgerEntry]:
        """Return by request id what letters have cost whose replay calls a model: the last booking of each.

        The ledger is read from a day before the first record of the oldest of them: a repeat may have died
        whose request was charged before.
        """
        paying, since_ms = set[str](), None
        for place in places:
            found = await self.find(place)
            letter = found[1] if found else None
            if letter is not None and letter.topic in PAYING and letter.request_id is not None:
                paying.add(letter.request_id)
                written_ms = letter.written_ms if letter.record_ms is None else letter.record_ms
                since_ms = written_ms if since_ms is None else min(since_ms, written_ms)
        if since_ms is None:
            return {}
        charges = dict[str, LedgerEntry]()
        spans = await self._topics.spans(LEDGER.name, since_ms=max(since_ms - _REPEATS_WITHIN_MS, 0))
        async for record in self._topics.read(spans):
            entry = self._entry(record)
            if entry is None or entry.request_id not in paying:
                continue
            known = charges.get(entry.request_id)
            if known is None or entry.replay >= known.replay:
                charges[entry.request_id] = entry
        return charges

    def _entry(self, record: ConsumerRecord) -> LedgerEntry | None:
        if not self._auth.wrote(record):
            return None
        try:
            entry = decode(record.value, LedgerEntry, record.headers)
        except UndecodableRecord:
            return None
        return entry if entry.kind == "settle" else None

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

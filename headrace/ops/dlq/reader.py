"""Dead letters, the actions on them and their charges, read from their topics."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import structlog
from aiokafka import ConsumerRecord

from headrace.ops.dlq.letters import DeadLetterRecord, LetterId, LetterSummary, read_letter, summary_of
from headrace.ops.dlq.selection import LetterFilters, LetterSelection, LetterStates
from headrace.ops.topic_reader import TopicReader
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
    """Reads dead letters; every method raises `KafkaUnavailable` where no broker answers in time."""

    def __init__(self, topics: TopicReader, auth: RecordAuth = UNSIGNED) -> None:
        self._topics = topics
        self._auth = auth

    async def select(self, filters: LetterFilters, *, limit: int) -> LetterSelection:
        """Return the newest letters that are meant, of those that were there when reading began.

        Letters are read one after the other, and only what a list shows of them is kept.
        """
        spans = await self._topics.spans([DEAD_LETTERS.name], since_ms=filters.since_ms)
        within = {partition.partition: span for partition, span in spans.items()}
        states = await self.states(lambda each: each.offset in within.get(each.partition, ()))
        selection = LetterSelection(filters, limit=limit)
        async for record in self._topics.read(spans):
            letter = summary_of(read_letter(record, self._auth))
            selection.offer(letter, states.of(letter.letter_id))
        return selection

    async def find(self, letter_id: LetterId) -> tuple[DeadLetterRecord, LetterSummary] | None:
        """Return one dead letter and what is known of it; None where it never was, or has expired."""
        record = await self._topics.record_at(DEAD_LETTERS.name, letter_id.partition, letter_id.offset)
        if record is None:
            return None
        dead = read_letter(record, self._auth)
        return dead, summary_of(dead)

    async def states(self, wanted: Callable[[LetterId], bool]) -> LetterStates:
        """Return the states of the wanted letters."""
        states = LetterStates(wanted)
        async for action in self._actions():
            states.add(action)
        return states

    async def charges(self, ids: Sequence[LetterId]) -> Mapping[str, LedgerEntry]:
        """Return the last charge, by request id, of those letters whose replay calls a model.

        The ledger is read from a day before the first record of the oldest of them: a repeat may have died
        whose request was charged before.
        """
        paying, since_ms = set[str](), list[int]()
        for letter_id in ids:
            found = await self.find(letter_id)
            letter = found[1] if found else None
            if letter is not None and letter.topic in PAYING and letter.request_id is not None:
                paying.add(letter.request_id)
                since_ms.append(letter.written_ms if letter.record_ms is None else letter.record_ms)
        charges = dict[str, LedgerEntry]()
        if not paying:
            return charges
        spans = await self._topics.spans([LEDGER.name], since_ms=max(min(since_ms) - _REPEATS_WITHIN_MS, 0))
        async for record in self._topics.read(spans):
            entry = self._charge(record)
            if entry is None or entry.request_id not in paying:
                continue
            known = charges.get(entry.request_id)
            if known is None or entry.replay >= known.replay:
                charges[entry.request_id] = entry
        return charges

    async def history(self, letter_id: LetterId) -> Sequence[DeadLetterAction]:
        """Return what was done with a letter, the oldest first; of very many actions the last ones."""
        found = deque[DeadLetterAction](maxlen=_MAX_HISTORY)
        async for action in self._actions():
            if action.dead_letter == str(letter_id):
                found.append(action)
        return tuple(found)

    def _charge(self, record: ConsumerRecord) -> LedgerEntry | None:
        if not self._auth.wrote(record):
            return None
        try:
            entry = decode(record.value, LedgerEntry, record.headers)
        except UndecodableRecord:
            return None
        return entry if entry.kind == "settle" else None

    async def _actions(self) -> AsyncIterator[DeadLetterAction]:
        """Yield every action that is kept. Those on one letter share a key, so they come in order."""
        async for record in self._topics.read(await self._topics.spans([DEAD_LETTER_ACTIONS.name])):
            where = {"partition": record.partition, "offset": record.offset}
            if not self._auth.wrote(record):
                log.warning("dlq.unauthentic_action", **where)
                continue
            try:
                yield decode(record.value, DeadLetterAction, record.headers)
            except UndecodableRecord as fault:
                log.warning("dlq.no_action", error=str(fault), **where)

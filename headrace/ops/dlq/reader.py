"""Reads dead letters, the actions on them and their charges from their topics, in bounded memory."""

import heapq
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from agents.stage import Record
from headrace.ops.dlq.letters import (
    LetterId,
    LetterState,
    LetterStates,
    LetterStatus,
    LetterSummary,
    summary_of,
)
from headrace.ops.topic_reader import TopicReader
from streams.events import DeadLetterAction, LedgerEntry
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import PAYING
from streams.redelivery import own_event
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS, LEDGER

_MAX_HISTORY = 1_000
_REPEATS_WITHIN_MS = 24 * 60 * 60 * 1000

#: Names of stages and exceptions come from headers, which anybody may write: more groups than this are added
#: up as one.
MAX_GROUPS = 1_000
OTHERS = "(others)"


class LetterFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that must all hold. Names are compared whole; `until` itself is outside."""

    status: LetterStatus | None = None
    stage: str | None = None
    exception: str | None = None
    topic: str | None = None
    request_id: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def match(self, letter: LetterSummary, state: LetterState) -> bool:
        """Whether a dead letter is meant."""
        named = ("stage", "exception", "topic", "request_id", "tenant")
        wanted = ((getattr(self, name), getattr(letter, name)) for name in named)
        return (
            self.status in (None, state.status)
            and all(want in (None, found) for want, found in wanted)
            and (self.since is None or letter.died_at >= self.since)
            and (self.until is None or letter.died_at < self.until)
        )

    @property
    def since_ms(self) -> int | None:
        """The begin as Unix ms."""
        return None if self.since is None else int(self.since.timestamp() * 1000)


class ListedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter and its state."""

    letter: LetterSummary
    state: LetterState

    @property
    def replays(self) -> int:
        """How often its record was replayed in all: before it died, and since."""
        return self.letter.replay + self.state.replays


class FaultGroup(msgspec.Struct, kw_only=True):
    """Dead letters of one stage with one exception. Times are Unix ms."""

    stage: str
    exception: str
    letters: int
    oldest_ms: int
    newest_ms: int


class LetterSelection:
    """Keeps the newest `limit` of the letters that match `filters`, and counts all of them."""

    def __init__(self, filters: LetterFilters, *, limit: int) -> None:
        self._filters = filters
        self._limit = limit
        self._newest: list[tuple[int, LetterId, ListedLetter]] = []
        self._groups: dict[tuple[str, str], FaultGroup] = {}
        self.matched = 0

    def offer(self, letter: LetterSummary, state: LetterState) -> None:
        """Take the letter if it is meant."""
        if not self._filters.match(letter, state):
            return
        self.matched += 1
        self._count(letter)
        # Ids differ, so that the comparison never comes to the letters themselves.
        entry = (letter.written_ms, letter.letter_id, ListedLetter(letter=letter, state=state))
        if len(self._newest) < self._limit:
            heapq.heappush(self._newest, entry)
        else:
            heapq.heappushpop(self._newest, entry)

    def letters(self) -> Sequence[ListedLetter]:
        """Return what was kept, the oldest first."""
        return [each for _, _, each in sorted(self._newest, key=lambda entry: entry[:2])]

    def groups(self) -> Sequence[FaultGroup]:
        """Return how many letters matched, by stage and exception, the most frequent first."""
        return sorted(self._groups.values(), key=lambda group: (-group.letters, group.stage, group.exception))

    def _count(self, letter: LetterSummary) -> None:
        fault = (letter.stage, letter.exception)
        if fault not in self._groups and len(self._groups) >= MAX_GROUPS:
            fault = (OTHERS, OTHERS)
        at_ms = letter.written_ms
        group = self._groups.setdefault(
            fault, FaultGroup(stage=fault[0], exception=fault[1], letters=0, oldest_ms=at_ms, newest_ms=at_ms)
        )
        group.letters += 1
        group.oldest_ms, group.newest_ms = min(group.oldest_ms, at_ms), max(group.newest_ms, at_ms)


class DeadLetterReader:
    """Reads dead letters; every method raises `KafkaUnavailable` where no broker answers in time."""

    def __init__(self, topics: TopicReader, auth: RecordAuth = UNSIGNED) -> None:
        self._topics = topics
        self._auth = auth

    async def select(self, filters: LetterFilters, *, limit: int) -> LetterSelection:
        """Return the newest letters that are meant; only what a list shows of each is kept."""
        spans = await self._topics.spans([DEAD_LETTERS.name], since_ms=filters.since_ms)
        within = {partition.partition: span for partition, span in spans.items()}
        states = await self.states(lambda each: each.offset in within.get(each.partition, ()))
        selection = LetterSelection(filters, limit=limit)
        async for record in self._topics.records(spans):
            letter = summary_of(Record.of(record, self._auth))
            selection.offer(letter, states.of(letter.letter_id))
        return selection

    async def find(self, letter_id: LetterId) -> Record | None:
        """Return the record of one dead letter; None where it never was, or has expired."""
        record = await self._topics.record_at(DEAD_LETTERS.name, letter_id.partition, letter_id.offset)
        return None if record is None else Record.of(record, self._auth)

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
            dead = await self.find(letter_id)
            letter = summary_of(dead) if dead else None
            if letter is not None and letter.topic in PAYING and letter.request_id is not None:
                paying.add(letter.request_id)
                since_ms.append(letter.written_ms if letter.record_ms is None else letter.record_ms)
        charges = dict[str, LedgerEntry]()
        if not paying:
            return charges
        spans = await self._topics.spans([LEDGER.name], since_ms=min(since_ms) - _REPEATS_WITHIN_MS)
        async for record in self._topics.records(spans):
            # There may be thousands, from before records were signed.
            entry = own_event(record, LedgerEntry, self._auth, reader="dlq", level=logging.DEBUG)
            if entry is None or entry.kind != "settle" or entry.request_id not in paying:
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

    async def _actions(self) -> AsyncIterator[DeadLetterAction]:
        """Yield every action that is kept. Those on one letter share a key, so they come in order."""
        async for record in self._topics.records(await self._topics.spans([DEAD_LETTER_ACTIONS.name])):
            if action := own_event(record, DeadLetterAction, self._auth, reader="dlq"):
                yield action

"""Which dead letters are meant: their states, the newest that match, and how many of each fault.

Memory is bounded.
"""

import heapq
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from headrace.ops.dlq.letters import LetterId, LetterSummary
from streams.errors import InputError
from streams.events import DeadLetterAction

#: Names of stages and exceptions come from headers, which anybody may write: more groups than this are added
#: up as one.
MAX_GROUPS = 1_000
OTHERS = "(others)"


class LetterStatus(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class LetterState(msgspec.Struct, frozen=True):
    """The status of a dead letter, and how often it was replayed. The last action decides the status."""

    status: LetterStatus = LetterStatus.OPEN
    replays: int = 0


_OPEN = LetterState()


class LetterStates:
    """The states of many dead letters, from the actions in the order in which they were recorded.

    Nothing is kept of letters that are not `wanted`.
    """

    def __init__(self, wanted: Callable[[LetterId], bool] = lambda _: True) -> None:
        self._wanted = wanted
        self._known: dict[LetterId, LetterState] = {}

    def add(self, action: DeadLetterAction) -> None:
        """Apply an action. One that names no dead letter is ignored."""
        try:
            letter_id = LetterId.parse(action.dead_letter)
        except InputError:
            return
        if self._wanted(letter_id):
            replays = self.of(letter_id).replays + (action.action == "replayed")
            self._known[letter_id] = LetterState(LetterStatus(action.action), replays)

    def of(self, letter_id: LetterId) -> LetterState:
        """Return the state of a letter."""
        return self._known.get(letter_id, _OPEN)


class LetterFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Every condition that is given must hold. Names are compared whole; `until` itself is outside."""

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


class FaultGroup(msgspec.Struct, frozen=True, kw_only=True):
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
        known = self._groups.get(fault)
        at_ms = letter.written_ms
        self._groups[fault] = FaultGroup(
            stage=fault[0],
            exception=fault[1],
            letters=known.letters + 1 if known else 1,
            oldest_ms=min(known.oldest_ms, at_ms) if known else at_ms,
            newest_ms=max(known.newest_ms, at_ms) if known else at_ms,
        )

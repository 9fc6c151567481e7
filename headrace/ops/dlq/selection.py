"""The newest dead letters that match, and how many there are of each kind, in bounded memory."""

import heapq
from collections.abc import Sequence
from datetime import datetime

import msgspec

from headrace.ops.dlq.filters import Filters
from headrace.ops.dlq.letters import Letter, Place, instant
from headrace.ops.dlq.standing import Standing

#: Names of stages and exceptions come from headers, which anybody may write: more kinds than this are added
#: up as one.
MAX_KINDS = 1_000
OTHERS = "(others)"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter and where it stands."""

    letter: Letter
    standing: Standing

    @property
    def replays(self) -> int:
        """How often its record was replayed in all: before it died, and since."""
        return self.letter.replay + self.standing.replays


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one stage with one exception. Times are Unix ms."""

    stage: str
    exception: str
    letters: int
    oldest_ms: int
    newest_ms: int

    @property
    def oldest_at(self) -> datetime:
        """When the first of them died."""
        return instant(self.oldest_ms)

    @property
    def newest_at(self) -> datetime:
        """When the last of them died."""
        return instant(self.newest_ms)


class Selection:
    """Keeps the newest `limit` of the letters that match `filters`, and counts all of them.

    Args:
        filters: which letters are meant.
        limit: how many are kept.
    """

    def __init__(self, filters: Filters, *, limit: int) -> None:
        self._filters = filters
        self._limit = limit
        self._newest: list[tuple[int, Place, Found]] = []
        self._kinds: dict[tuple[str, str], Kind] = {}
        self.matched = 0

    def offer(self, letter: Letter, standing: Standing) -> None:
        """Take the letter if it is meant."""
        if not self._filters.match(letter, standing):
            return
        self.matched += 1
        self._count(letter)
        # Places differ, so that the comparison never comes to the letters themselves.
        entry = (letter.written_ms, letter.place, Found(letter=letter, standing=standing))
        if len(self._newest) < self._limit:
            heapq.heappush(self._newest, entry)
        else:
            heapq.heappushpop(self._newest, entry)

    def found(self) -> Sequence[Found]:
        """Return what was kept, the oldest first."""
        return [each for _, _, each in sorted(self._newest, key=lambda entry: entry[:2])]

    def kinds(self) -> Sequence[Kind]:
        """Return how many letters matched, by stage and exception, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: (-kind.letters, kind.stage, kind.exception))

    def _count(self, letter: Letter) -> None:
        kind = (letter.stage, letter.exception)
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = (OTHERS, OTHERS)
        known = self._kinds.get(kind)
        at_ms = letter.written_ms
        self._kinds[kind] = Kind(
            stage=kind[0],
            exception=kind[1],
            letters=known.letters + 1 if known else 1,
            oldest_ms=min(known.oldest_ms, at_ms) if known else at_ms,
            newest_ms=max(known.newest_ms, at_ms) if known else at_ms,
        )

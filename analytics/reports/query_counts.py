"""How many queries were asked, what came of them, and how long they took: for `/metrics`."""

import math
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from analytics.reports.query_slots import TooManyQueries
from analytics.reports.reader_faults import QueryFault
from streams.errors import ClickHouseUnavailable

#: Upper bounds in seconds: the page's aim is 0.3 s, everybody's 1 s, the default limit 20 s.
BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, math.inf)


class Durations:
    """A histogram."""

    def __init__(self) -> None:
        self._counts = [0] * len(BUCKETS_S)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.seconds += seconds

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Yield each upper bound with the number of durations up to it; the last one is the number of all."""
        count = 0
        for bound, here in zip(BUCKETS_S, self._counts, strict=True):
            count += here
            yield bound, count


class QueryOutcome(msgspec.Struct, frozen=True):
    """Queries that ended alike: which query, and what came of it."""

    query: str
    outcome: str


class QueryCounts:
    """Counts queries. Used from one event loop only; the catalogue bounds what it holds.

    Args:
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.ended: dict[QueryOutcome, int] = {}
        self.durations: dict[str, Durations] = {}

    @asynccontextmanager
    async def counted(self, query: str) -> AsyncIterator[None]:
        """Count a query while the block asks it and fetches its answer; the wait for a turn is part of it."""
        began, outcome = self._clock(), "left"
        try:
            yield
            outcome = "answered"
        except TooManyQueries:
            outcome = "refused"
            raise
        except ClickHouseUnavailable:
            outcome = "unavailable"
            raise
        except QueryFault as fault:
            outcome = fault.reason.value
            raise
        finally:
            self._count(QueryOutcome(query, outcome))
            self.durations.setdefault(query, Durations()).add(self._clock() - began)

    def _count(self, ended: QueryOutcome) -> None:
        self.ended[ended] = self.ended.get(ended, 0) + 1

"""How many queries were asked, their outcomes and durations: Prometheus metrics."""

import math
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from analytics.reports.query_slots import QuerySlots, TooManyQueries
from analytics.reports.reader_faults import QueryFault
from streams.errors import ClickHouseUnavailable

#: Upper bounds in seconds: the page's aim is 0.3 s, everybody's 1 s, the default limit 20 s.
BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, math.inf)
_REFUSED: Final = "refused"


class QueryOutcome(NamedTuple):
    """A query of the catalogue and how it ended."""

    query: str
    outcome: str


class QueryDurations:
    """A histogram over `BUCKETS_S`, and the sum in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * len(BUCKETS_S)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration; one at a bound is within it."""
        self._counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def cumulative(self) -> dict[float, int]:
        """The number of durations up to each bound."""
        return dict(zip(BUCKETS_S, accumulate(self._counts), strict=True))


class QueryCounts(Collector):
    """Counts queries. Used from one event loop only; the catalogue bounds what it holds."""

    def __init__(self, slots: QuerySlots, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._clock = clock
        self.ended: dict[QueryOutcome, int] = {}
        self.durations: dict[str, QueryDurations] = {}

    @asynccontextmanager
    async def counted(self, query: str) -> AsyncIterator[None]:
        """Count a query while the block asks it and fetches its result; the wait for a slot is part of it."""
        began, outcome = self._clock(), "left"
        try:
            yield
            outcome = "answered"
        except TooManyQueries:
            outcome = _REFUSED
            raise
        except ClickHouseUnavailable:
            outcome = "unavailable"
            raise
        except QueryFault as fault:
            outcome = fault.reason.value
            raise
        finally:
            ended = QueryOutcome(query, outcome)
            self.ended[ended] = self.ended.get(ended, 0) + 1
            self.durations.setdefault(query, QueryDurations()).add(self._clock() - began)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        prefix = "headrace_analyst_queries"
        yield GaugeMetricFamily(f"{prefix}_running", "Queries that run.", value=self._slots.running)
        yield GaugeMetricFamily(
            f"{prefix}_waiting", "Queries that wait for a slot.", value=self._slots.waiting
        )
        refused = sum(count for ended, count in self.ended.items() if ended.outcome == _REFUSED)
        yield CounterMetricFamily(f"{prefix}_refused", "Queries that got no slot in time.", value=refused)
        text = "Queries by name and outcome; left: the client did, before it had the whole result."
        total = CounterMetricFamily(prefix, text, labels=["query", "outcome"])
        for ended, count in sorted(self.ended.items()):
            total.add_metric(ended, count)
        yield total
        text = "From the request to the last byte of the result, the wait for a slot included."
        seconds = HistogramMetricFamily("headrace_analyst_query_seconds", text, labels=["query"])
        for query, durations in sorted(self.durations.items()):
            buckets = [(_bound(bound), float(count)) for bound, count in durations.cumulative.items()]
            seconds.add_metric([query], buckets=buckets, sum_value=round(durations.sum_s, 6))
        yield seconds


def _bound(seconds: float) -> str:
    return "+Inf" if math.isinf(seconds) else f"{seconds:g}"

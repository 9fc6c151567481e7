"""How many queries were asked, their outcomes and durations: Prometheus metrics."""

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from analytics.reports.query_slots import QuerySlots, TooManyQueries
from analytics.reports.reader_faults import QueryFault
from streams.errors import ClickHouseUnavailable

#: Upper bounds in seconds: the page's aim is 0.3 s, everybody's 1 s, the default limit 20 s.
BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, math.inf)
_PREFIX: Final = "headrace_analyst_queries"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each that nobody reads


class QueryCounts(Collector):
    """Counts queries; the catalogue bounds what it holds."""

    def __init__(self, slots: QuerySlots, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._clock = clock
        self._refused = 0
        self._ended = Counter(
            _PREFIX,
            "Queries by name and outcome; left: the client did, before it had the whole result.",
            ("query", "outcome"),
            registry=None,
        )
        self._seconds = Histogram(
            "headrace_analyst_query_seconds",
            "From the request to the last byte of the result, the wait for a slot included.",
            ("query",),
            buckets=BUCKETS_S,
            registry=None,
        )

    @asynccontextmanager
    async def counted(self, query: str) -> AsyncIterator[None]:
        """Count a query while the block asks it and fetches its result; the wait for a slot is part of it."""
        began, outcome = self._clock(), "left"
        try:
            yield
            outcome = "answered"
        except TooManyQueries:
            outcome = "refused"
            self._refused += 1
            raise
        except ClickHouseUnavailable:
            outcome = "unavailable"
            raise
        except QueryFault as fault:
            outcome = fault.reason.value
            raise
        finally:
            self._ended.labels(query, outcome).inc()
            self._seconds.labels(query).observe(self._clock() - began)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield GaugeMetricFamily(f"{_PREFIX}_running", "Queries that run.", value=self._slots.running)
        text = "Queries that wait for a slot."
        yield GaugeMetricFamily(f"{_PREFIX}_waiting", text, value=self._slots.waiting)
        text = "Queries that got no slot in time."
        yield CounterMetricFamily(f"{_PREFIX}_refused", text, value=self._refused)
        yield from self._ended.collect()
        yield from self._seconds.collect()

"""Runs the catalogue's queries: for the caller's tenant, within the query slots, counted for Prometheus."""

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from prometheus_client import Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from analytics.reports.catalogue import Catalogue, Query
from analytics.reports.query_slots import QuerySlots, TooManyQueries
from analytics.reports.reader import AnalystReader, QueryResult, ReaderQuery
from analytics.reports.reader_faults import QueryFault, Reason
from analytics.reports.result_formats import ResultFormat
from streams.errors import ClickHouseUnavailable, InputError

#: Upper bounds in seconds: the page's aim is 0.3 s, everybody's 1 s, the default limit 20 s.
BUCKETS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, math.inf)
_PREFIX: Final = "headrace_analyst_queries"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each that nobody reads


class TenantNotAllowed(InputError):
    """A caller asked for a tenant that is not its own."""


class TenantScope(msgspec.Struct, frozen=True):
    """The rows that a key opens: those of one tenant, or all of them where `tenant` is None (the admin's)."""

    tenant: str | None

    def narrowed(self, asked: str) -> str:
        """Return the tenant that a query is about (empty: all), or raise `TenantNotAllowed`."""
        if self.tenant is None:
            return asked
        if asked not in ("", self.tenant):
            raise TenantNotAllowed(
                f"this key sees the tenant {self.tenant!r} only: leave the parameter tenant out",
                code="tenant_not_allowed",
                param="tenant",
            )
        return self.tenant


class PreparedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query with checked values. Its parameter `tenant` is the caller's own; empty: everybody's."""

    query: Query
    parameters: Mapping[str, Any]
    output: ResultFormat


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


class QueryService:
    """Runs queries. `reader` is None where no read-only user is configured."""

    def __init__(self, catalogue: Catalogue, reader: AnalystReader | None, slots: QuerySlots) -> None:
        self.catalogue = catalogue
        self.slots = slots
        self.counts = QueryCounts(slots)
        self._reader = reader

    def prepare(
        self, name: str, given: Mapping[str, str], scope: TenantScope, output: ResultFormat
    ) -> PreparedQuery:
        """Check a query's name and parameters; raises as `Catalogue.get`, `bind` and `narrowed`."""
        query = self.catalogue.get(name)
        tenant = scope.narrowed(given.get("tenant", ""))
        bound = query.bind({**given, "tenant": tenant})
        return PreparedQuery(query=query, parameters=bound.parameters, output=output)

    @asynccontextmanager
    async def ask(self, prepared: PreparedQuery) -> AsyncIterator[QueryResult]:
        """Run a query, hold the result while the block runs; raises as `hold` and `AnalystReader.ask`."""
        async with self.counts.counted(prepared.query.name):
            if self._reader is None:
                raise QueryFault(
                    Reason.MISCONFIGURED,
                    "HEADRACE_CLICKHOUSE_READER_URL is not set: see docs/analytics-api.md",
                )
            question = ReaderQuery(
                sql=prepared.query.sql,
                parameters=prepared.parameters,
                tenant=str(prepared.parameters["tenant"]),
                output_format=prepared.output.clickhouse,
                format_settings=prepared.output.settings,
            )
            async with self.slots.hold(question.tenant), self._reader.ask(question) as answer:
                yield answer

    async def close(self) -> None:
        """Close the connections."""
        if self._reader is not None:
            await self._reader.close()

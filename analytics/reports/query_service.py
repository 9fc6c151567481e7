"""Runs the catalogue's queries: for the caller's tenant, within the query slots, counted for Prometheus."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec
from prometheus_client import Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from analytics.reports.catalogue import Catalogue
from analytics.reports.query import Query, ResultFormat
from analytics.reports.reader import AnalystReader, QueryFault, QueryResult, ReaderQuery, Reason
from streams.control.booked_prices import BookedPrices
from streams.errors import ClickHouseUnavailable, HeadraceError, InputError

#: The page runs two queries at once (web/api.js); several pages, and programs beside them, wait for slots.
WAITING_PER_TENANT: Final = 16
WAITING: Final = 64
WAIT_S: Final = 10.0


class TooManyQueries(HeadraceError):
    """There was no slot in time. `own`: because of the caller's own queries, not of others'."""

    def __init__(self, message: str, *, own: bool, retry_after_s: float = 2.0) -> None:
        super().__init__(message)
        self.own = own
        self.retry_after_s = retry_after_s


class _Share:
    """One tenant's slots: all but one, so that a busy tenant never takes the last one."""

    def __init__(self, slots: int) -> None:
        self.free = asyncio.Semaphore(max(1, slots - 1))
        self.present = 0


class QuerySlots:
    """First come, first served within a tenant; every wait is bounded.

    `running` queries run at once. `waiting` may wait, `waiting_per_tenant` of them one tenant's, each for
    `wait_s` at most.
    """

    def __init__(
        self,
        *,
        running: int,
        waiting: int = WAITING,
        waiting_per_tenant: int = WAITING_PER_TENANT,
        wait_s: float = WAIT_S,
    ) -> None:
        self._free = asyncio.Semaphore(running)
        self._running = running
        self._present = 0
        self._held = 0
        self._most = running + waiting
        self._most_per_tenant = max(1, running - 1) + waiting_per_tenant
        self._wait_s = wait_s
        self._shares: dict[str, _Share] = {}

    @property
    def running(self) -> int:
        """How many queries run."""
        return self._held

    @property
    def waiting(self) -> int:
        """How many queries wait for a slot."""
        return self._present - self._held

    @asynccontextmanager
    async def hold(self, tenant: str) -> AsyncIterator[None]:
        """Hold a slot while the block runs; `TooManyQueries` without one in time, or if too many wait."""
        share = self._enter(tenant)
        async with AsyncExitStack() as stack:
            stack.callback(self._leave, tenant, share)
            own = True
            try:
                async with asyncio.timeout(self._wait_s):
                    await stack.enter_async_context(share.free)
                    own = False  # from here on others are in its way
                    await stack.enter_async_context(self._free)
            except TimeoutError:
                raise self._refusal(own=own) from None
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1

    def _enter(self, tenant: str) -> _Share:
        share = self._shares.get(tenant) or _Share(self._running)
        own = share.present >= self._most_per_tenant
        if own or self._present >= self._most:
            raise self._refusal(own=own)
        self._shares[tenant] = share
        self._present += 1
        share.present += 1
        return share

    def _leave(self, tenant: str, share: _Share) -> None:
        self._present -= 1
        share.present -= 1
        if not share.present:
            del self._shares[tenant]

    def _refusal(self, *, own: bool) -> TooManyQueries:
        whose = "of yours " if own else ""
        return TooManyQueries(
            f"too many queries {whose}at once: {self._running} run at a time, and the others wait for their "
            "turn; try again in a moment",
            own=own,
        )


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


class PreparedQuery(ReaderQuery, frozen=True, kw_only=True):
    """A query of the catalogue, for the rows that the caller's key opens."""

    query: Query


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
        self.prices = BookedPrices()
        self._reader = reader

    def prepare(
        self, name: str, given: Mapping[str, str], scope: TenantScope, output: ResultFormat
    ) -> PreparedQuery:
        """Check a query's name and parameters; raises as `Catalogue.get`, `bind` and `narrowed`."""
        query = self.catalogue.get(name)
        tenant = scope.narrowed(given.get("tenant", ""))
        sql, parameters = query.bind({**given, "tenant": tenant}, prices=self.prices)
        return PreparedQuery(query=query, sql=sql, parameters=parameters, tenant=tenant, output=output)

    @asynccontextmanager
    async def ask(self, prepared: PreparedQuery) -> AsyncIterator[QueryResult]:
        """Run a query, hold the result while the block runs; raises as `hold` and `AnalystReader.ask`."""
        async with self.counts.counted(prepared.query.name):
            if self._reader is None:
                raise QueryFault(
                    Reason.MISCONFIGURED,
                    "HEADRACE_CLICKHOUSE_READER_URL is not set: see docs/analytics-api.md",
                )
            async with self.slots.hold(prepared.tenant), self._reader.ask(prepared) as answer:
                yield answer

    async def close(self) -> None:
        """Close the connections."""
        if self._reader is not None:
            await self._reader.close()

"""Runs the catalogue's queries for callers: by name, for the caller's tenant, within the query slots."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from analytics.reports.catalogue import Catalogue, Query
from analytics.reports.query_counts import QueryCounts
from analytics.reports.query_slots import QuerySlots
from analytics.reports.reader import AnalystReader, QueryResult, ReaderQuery
from analytics.reports.reader_faults import QueryFault, Reason
from analytics.reports.result_formats import ResultFormat
from streams.errors import InputError


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
    """A query with checked values. `tenant` among the `parameters` is the caller's own."""

    query: Query
    parameters: Mapping[str, Any]
    output: ResultFormat

    @property
    def tenant(self) -> str:
        """Whose rows; empty for everybody's."""
        return str(self.parameters["tenant"])


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
        async with self.counts.counted(prepared.query.name), self._ask(prepared) as answer:
            yield answer

    @asynccontextmanager
    async def _ask(self, prepared: PreparedQuery) -> AsyncIterator[QueryResult]:
        if self._reader is None:
            raise QueryFault(
                Reason.MISCONFIGURED, "HEADRACE_CLICKHOUSE_READER_URL is not set: see docs/analytics-api.md"
            )
        question = ReaderQuery(
            sql=prepared.query.sql,
            parameters=prepared.parameters,
            tenant=prepared.tenant,
            output_format=prepared.output.clickhouse,
            format_settings=prepared.output.settings,
        )
        async with self.slots.hold(prepared.tenant), self._reader.ask(question) as answer:
            yield answer

    async def close(self) -> None:
        """Close the connections."""
        if self._reader is not None:
            await self._reader.close()

"""The query catalogue: every question that analysts ask, as a documented query with parameters.

Each query is one file, `queries/NAME.sql`; `analytics.reports.query_header` states its format. All of them
read the deduplicated views, so that their figures are exact however often a record was delivered.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Self

from analytics.reports.query_header import GROUPS, Bound, Column, Query, did_you_mean, load_parts, parse
from analytics.reports.query_parameters import QueryParameter, WrongParameter
from streams.errors import InputError

__all__ = ["Bound", "Catalogue", "Column", "Query", "QueryParameter", "UnknownQuery", "WrongParameter"]


class UnknownQuery(InputError):
    """There is no query of this name."""


class Catalogue:
    """All queries, by group and name."""

    def __init__(self, queries: Mapping[str, Query]) -> None:
        self._queries = dict(sorted(queries.items(), key=lambda item: (GROUPS.index(item[1].group), item[0])))

    @classmethod
    def load(cls, folder: Traversable | None = None) -> Self:
        """Return the queries of a folder, by default Headrace's own; raises as `parse`."""
        source = folder if folder is not None else files("analytics.reports") / "queries"
        found: dict[str, Query] = {}
        parts = load_parts()
        for file in source.iterdir():
            if file.name.endswith(".sql"):
                query = parse(file.name, file.read_text("utf-8"), parts)
                found[query.name] = query
        return cls(found)

    def __iter__(self) -> Iterator[Query]:
        return iter(self._queries.values())

    def names(self) -> list[str]:
        """Return the names, those of a group side by side."""
        return list(self._queries)

    def get(self, name: str) -> Query:
        """Return a query, or raise `UnknownQuery` with the names that are near."""
        if name not in self._queries:
            near = did_you_mean(name, self.names())
            raise UnknownQuery(f"there is no query {name!r}{near}", code="unknown_query", param="name")
        return self._queries[name]

    def bind(self, name: str, given: Mapping[str, object], *, now: datetime | None = None) -> Bound:
        """Return a query's statement with its values; raises as `get` and `Query.bind`."""
        return self.get(name).bind(given, now=now)

"""The query catalogue: every question that analysts ask, as a documented query with parameters.

Each query is one file, `queries/NAME.sql`; `analytics.reports.query_header` states its format. All of them
read the deduplicated views, so that their figures are exact however often a record was delivered.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple, Self

import msgspec

from analytics.reports.query_header import GROUPS, Column, Header, load_parts, parse
from analytics.reports.query_parameters import QueryParameter, WrongParameter, check_window
from streams.errors import InputError

__all__ = ["Bound", "Catalogue", "Column", "Query", "QueryParameter", "UnknownQuery", "WrongParameter"]


class UnknownQuery(InputError):
    """There is no query of this name."""


class Bound(NamedTuple):
    """A statement with the values of its parameters, ready for `clickhouse-connect`."""

    sql: str
    parameters: dict[str, Any]


class Query(Header, frozen=True, kw_only=True):
    """One query of the catalogue, by its name."""

    name: str

    def bind(self, given: Mapping[str, object], *, now: datetime | None = None) -> Bound:
        """Return the statement and the values of all its parameters, or raise `WrongParameter`.

        Values may be typed texts or of the right kind; ages count from `now`, by default the present time.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                raise WrongParameter(
                    f"the query {self.name} has no parameter {name!r}{_suggestion(name, names)}; it takes "
                    + ", ".join(names),
                    param=name,
                )
        at = now or datetime.now(UTC)
        values = {parameter.name: self._value(parameter, given, at) for parameter in self.parameters}
        check_window(values)
        return Bound(sql=self.sql, parameters=values)

    def _value(self, parameter: QueryParameter, given: Mapping[str, object], now: datetime) -> Any:
        value = given.get(parameter.name, parameter.default)
        if value is None:
            raise WrongParameter(
                f"the query {self.name} needs {parameter.name}: {parameter.doc}", param=parameter.name
            )
        return parameter.value(value, now)


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
                header = parse(file.name, file.read_text("utf-8"), parts)
                name = file.name.removesuffix(".sql")
                found[name] = Query(name=name, **msgspec.structs.asdict(header))
        return cls(found)

    def __iter__(self) -> Iterator[Query]:
        return iter(self._queries.values())

    def names(self) -> list[str]:
        """Return the names, those of a group side by side."""
        return list(self._queries)

    def get(self, name: str) -> Query:
        """Return a query, or raise `UnknownQuery` with the names that are near."""
        try:
            return self._queries[name]
        except KeyError:
            raise UnknownQuery(
                f"there is no query {name!r}{_suggestion(name, self.names())}",
                code="unknown_query",
                param="name",
            ) from None

    def bind(self, name: str, given: Mapping[str, object], *, now: datetime | None = None) -> Bound:
        """Return a query's statement with its values.

        Raises:
            UnknownQuery: as `get`.
            WrongParameter: as `Query.bind`.
        """
        return self.get(name).bind(given, now=now)


def _suggestion(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    near += [each for each in names if name and name in each and each not in near][: 3 - len(near)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""

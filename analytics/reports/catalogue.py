"""The query catalogue: every question that analysts ask, as a documented query with parameters.

Each query is one file, `queries/NAME.sql`, and reads the deduplicated views, so that its figures are exact
however often a record was delivered. The leading comment documents it:

    -- title: Cost by model
    -- group: cost
    -- description: What the requests cost, by the model that answered.
    --     A longer text goes on in lines that are indented.
    -- parameter: limit UInt32 1..10000 = 100 | rows at most
    -- column: model [name] | the model that answered
    -- column: cost_usd [USD] | what the requests cost

A parameter without ``= default`` must be given; ``low..high`` are bounds of a number, ``one|other`` the words
that a text may be. `since`, `until` and `tenant` need no line. Every parameter is used in the SQL, with the
type that is stated, and the SQL uses no other.

What several queries begin with is a part, a file of `query_parts/`: a description, parameters, and what
stands in a ``WITH`` clause. ``-- part: whole_hours`` lets the statement begin with that part, and takes over
what the part says and takes. Parts are named in the order in which they build on each other.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Self, TypeVar

from analytics.clickhouse import expanded
from analytics.reports.query import (
    STANDARD,
    TYPES,
    Bound,
    Column,
    Query,
    QueryParameter,
    QueryPart,
    UnknownQuery,
    did_you_mean,
)
from streams.errors import ConfigurationError

#: What the queries are sorted by, in the order in which they are listed.
GROUPS = (
    *("cost", "latency", "reliability", "cache", "guardrail"),
    *("quality", "experiments", "traffic", "request"),
)

#: What a column may hold. `share` is a part of one, from 0 to 1; `name` is a text.
UNITS = frozenset({
    "USD", "ms", "s", "tokens", "tokens/s", "requests", "calls", "executions", "users", "rows", "count",
    "share", "ratio", "cosine", "score", "measure", "name", "id", "text", "flag", "day", "time",
})  # fmt: skip

_QUERY_KEYS = frozenset({"title", "group", "description", "part", "parameter", "column"})
_PART_KEYS = frozenset({"description", "parameter"})
_NAME = r"[a-z][a-z0-9_]*"
_FIELD = re.compile(r"-- ([a-z]+): (\S.*)")
_CONTINUATION = re.compile(r"--     (\S.*)")
_PARAMETER = re.compile(
    rf"(?P<name>{_NAME}) (?P<type>\S.*?)"
    r"(?: (?P<low>-?[\d.]+?)\.\.(?P<high>-?[\d.]+))?"
    rf"(?: (?P<choices>{_NAME}(?:\|{_NAME})+))?"
    r"(?: = (?P<default>\S.*?))? \| (?P<doc>\S.*)"
)
_COLUMN = re.compile(rf"(?P<name>{_NAME}) \[(?P<unit>[^\]]+)\] \| (?P<doc>\S.*)")
_PLACEHOLDER = re.compile(rf"\{{({_NAME}):([^{{}}]+)\}}")
_WITH = "WITH\n"

Fields = list[tuple[str, str]]


Named = TypeVar("Named", Column, QueryParameter)


def parse(file: str, text: str, parts: Mapping[str, QueryPart] | None = None) -> Query:
    """Return the query in a file; `ConfigurationError` where it is not in the format above."""
    try:
        fields, sql = _split(text, _QUERY_KEYS)
        query = _query(file.removesuffix(".sql"), fields, sql, parts or {})
        _check_placeholders(query)
    except ValueError as fault:
        raise ConfigurationError(f"analytics/reports/queries/{file}: {fault}") from fault
    return query


def load_parts(folder: Traversable | None = None) -> Mapping[str, QueryPart]:
    """Return the parts of a folder by name, by default Headrace's own; raises as `parse`."""
    source = folder if folder is not None else files("analytics.reports") / "query_parts"
    return {
        file.name.removesuffix(".sql"): _part(file.name, file.read_text("utf-8"))
        for file in source.iterdir()
        if file.name.endswith(".sql")
    }


def _part(file: str, text: str) -> QueryPart:
    try:
        fields, sql = _split(text, _PART_KEYS)
        return QueryPart(description=_only(fields, "description"), parameters=_parameters(fields), sql=sql)
    except ValueError as fault:
        raise ConfigurationError(f"analytics/reports/query_parts/{file}: {fault}") from fault


def _query(name: str, fields: Fields, sql: str, known_parts: Mapping[str, QueryPart]) -> Query:
    if not sql or ";" in sql:
        raise ValueError("there must be one statement, without a semicolon")
    group = _only(fields, "group")
    if group not in GROUPS:
        raise ValueError(f"group {group!r} is none of {', '.join(GROUPS)}")
    columns = tuple(_column(text) for key, text in fields if key == "column")
    if not columns:
        raise ValueError("there is no column")
    wanted = [text for key, text in fields if key == "part"]
    if unknown := [part for part in wanted if part not in known_parts]:
        raise ValueError(f"there is no part {unknown[0]!r} in analytics/reports/query_parts")
    parts = [known_parts[part] for part in wanted]
    own = _parameters(fields)
    given = {parameter.name for parameter in own}  # a query may give a part's parameter another default
    taken_over = [each for part in parts for each in part.parameters if each.name not in given]
    texts = [_only(fields, "description"), *(part.description for part in parts)]
    return Query(
        name=name,
        title=_only(fields, "title"),
        group=group,
        description=" ".join(texts),
        parameters=_with_standard([*taken_over, *own]),
        columns=_unique(columns, "column"),
        sql=expanded(_joined(sql, parts)),
    )


def _joined(sql: str, parts: Sequence[QueryPart]) -> str:
    if not parts:
        return sql
    clauses = [part.sql for part in parts]
    if sql.startswith(_WITH):  # its own clauses may build on those of the parts
        return _WITH + ",\n".join([*clauses, sql.removeprefix(_WITH)])
    return _WITH + ",\n".join(clauses) + "\n" + sql


def _split(text: str, keys: Collection[str]) -> tuple[Fields, str]:
    lines = text.splitlines()
    end = next((place for place, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return list(_fields(lines[:end], keys)), "\n".join(lines[end:]).strip()


def _fields(lines: list[str], keys: Collection[str]) -> Iterator[tuple[str, str]]:
    key, text = "", ""
    for line in lines:
        begins, goes_on = _FIELD.fullmatch(line), _CONTINUATION.fullmatch(line)
        if begins and begins[1] in keys:
            if key:
                yield key, text
            key, text = begins[1], begins[2]
        elif goes_on and key:
            text += " " + goes_on[1]
        else:
            raise ValueError(f"{line!r} is neither a field nor the rest of one")
    if key:
        yield key, text


def _only(fields: Fields, key: str) -> str:
    texts = [text for name, text in fields if name == key]
    if len(texts) != 1:
        raise ValueError(f"there must be one {key}")
    return texts[0]


def _parameters(fields: Fields) -> tuple[QueryParameter, ...]:
    return tuple(_parameter(text) for key, text in fields if key == "parameter")


def _parameter(text: str) -> QueryParameter:
    match = _PARAMETER.fullmatch(text)
    if match is None or match["type"] not in TYPES:
        raise ValueError(f"parameter {text!r} must be: name Type [low..high] [= default] | what it is")
    choices = tuple(match["choices"].split("|")) if match["choices"] else ()
    return QueryParameter(
        name=match["name"],
        type=match["type"],
        default="" if match["default"] == "''" else match["default"],
        doc=match["doc"] + (f": {', '.join(choices)}" if choices else ""),
        low=None if match["low"] is None else float(match["low"]),
        high=None if match["high"] is None else float(match["high"]),
        choices=choices,
    )


def _column(text: str) -> Column:
    match = _COLUMN.fullmatch(text)
    if match is None or match["unit"] not in UNITS:
        raise ValueError(
            f"column {text!r} must be: name [unit] | what it is; units: {', '.join(sorted(UNITS))}"
        )
    return Column(**match.groupdict())


def _with_standard(stated: list[QueryParameter]) -> tuple[QueryParameter, ...]:
    own = {parameter.name: parameter for parameter in _unique(tuple(stated), "parameter")}
    standard = [own.pop(parameter.name, parameter) for parameter in STANDARD]
    return (*standard, *own.values())


def _unique(items: tuple[Named, ...], kind: str) -> tuple[Named, ...]:
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{kind} {twice[0]!r} is there twice")
    return items


def _check_placeholders(query: Query) -> None:
    stated = {(parameter.name, parameter.type) for parameter in query.parameters}
    used = {(name, kind) for name, kind in _PLACEHOLDER.findall(query.sql)}
    if stated != used:
        name, kind = min(stated ^ used)
        there = "stated and not used" if (name, kind) in stated else "used and not stated"
        raise ValueError(f"parameter {name} {kind} is {there} in the SQL")


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

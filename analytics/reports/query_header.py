"""The leading comment of a query file, which documents the query: a strict format, and its parser.

    -- title: Cost by model
    -- group: cost
    -- description: What the requests cost, by the model that answered.
    --     A longer text goes on in lines that are indented.
    -- parameter: limit UInt32 1..10000 = 100 | rows at most
    -- column: model [name] | the model that answered
    -- column: cost_usd [USD] | what the requests cost

A parameter without ``= default`` must be given (`analytics.reports.query_comment` has its whole form);
`since`, `until` and `tenant` need no line. Every parameter is used in the SQL, with the type that is stated,
and the SQL uses no other. ``-- part: whole_hours`` lets the statement begin with that file of `query_parts/`,
and takes over what the file says and takes.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from analytics.query_macros import expanded
from analytics.reports import query_comment
from analytics.reports.query_comment import NAME, Fields
from analytics.reports.query_parameters import STANDARD, QueryParameter
from analytics.reports.query_parts import QueryPart, joined
from streams.errors import ConfigurationError

#: What the queries are sorted by, in the order in which they are listed.
GROUPS = (
    "cost",
    "latency",
    "reliability",
    "cache",
    "guardrail",
    "quality",
    "experiments",
    "traffic",
    "request",
)

#: What a column may hold. `share` is a part of one, from 0 to 1; `name` is a text.
UNITS = frozenset({
    "USD", "ms", "s", "tokens", "tokens/s", "requests", "calls", "executions", "users", "rows", "count",
    "share", "ratio", "cosine", "score", "measure", "name", "id", "text", "flag", "day", "time",
})  # fmt: skip

_KEYS = frozenset({"title", "group", "description", "part", "parameter", "column"})
_COLUMN = re.compile(rf"(?P<name>{NAME}) \[(?P<unit>[^\]]+)\] \| (?P<doc>\S.*)")
_PLACEHOLDER = re.compile(rf"\{{({NAME}):([^{{}}]+)\}}")


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a result, in the order of the result."""

    name: str
    unit: str
    doc: str


Named = TypeVar("Named", Column, QueryParameter)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a query file states, and its statement.

    `since`, `until` and `tenant` come first among the parameters of every query.
    """

    title: str
    group: str
    description: str
    parameters: tuple[QueryParameter, ...]
    columns: tuple[Column, ...]
    sql: str


def parse(file: str, text: str, parts: Mapping[str, QueryPart] | None = None) -> Header:
    """Return what a query file says.

    Raises:
        ConfigurationError: it is not in the format above, or its SQL uses other parameters than it states.
    """
    try:
        fields, sql = query_comment.split(text, _KEYS)
        header = _header(fields, sql, _parts(fields, parts or {}))
        _check_placeholders(header)
    except ValueError as fault:
        raise ConfigurationError(f"analytics/reports/queries/{file}: {fault}") from fault
    return header


def _parts(fields: Fields, known: Mapping[str, QueryPart]) -> list[QueryPart]:
    names = [text for key, text in fields if key == "part"]
    for name in names:
        if name not in known:
            raise ValueError(f"there is no part {name!r} in analytics/reports/query_parts")
    return [known[name] for name in names]


def _header(fields: Fields, sql: str, parts: list[QueryPart]) -> Header:
    if not sql or ";" in sql:
        raise ValueError("there must be one statement, without a semicolon")
    group = query_comment.only(fields, "group")
    if group not in GROUPS:
        raise ValueError(f"group {group!r} is none of {', '.join(GROUPS)}")
    columns = tuple(_column(text) for key, text in fields if key == "column")
    if not columns:
        raise ValueError("there is no column")
    own = query_comment.parameters(fields)
    given = {parameter.name for parameter in own}  # a query may give a part's parameter another default
    taken_over = [each for part in parts for each in part.parameters if each.name not in given]
    texts = [query_comment.only(fields, "description"), *(part.description for part in parts)]
    return Header(
        title=query_comment.only(fields, "title"),
        group=group,
        description=" ".join(texts),
        parameters=_with_standard([*taken_over, *own]),
        columns=_unique(columns, "column"),
        sql=expanded(joined(sql, parts)),
    )


def _column(text: str) -> Column:
    match = _COLUMN.fullmatch(text)
    if match is None or match["unit"] not in UNITS:
        raise ValueError(
            f"column {text!r} must be: name [unit] | what it is; units: {', '.join(sorted(UNITS))}"
        )
    return Column(name=match["name"], unit=match["unit"], doc=match["doc"])


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


def _check_placeholders(header: Header) -> None:
    stated = {(parameter.name, parameter.type) for parameter in header.parameters}
    used = {(name, kind) for name, kind in _PLACEHOLDER.findall(header.sql)}
    if stated != used:
        name, kind = min(stated ^ used)
        there = "stated and not used" if (name, kind) in stated else "used and not stated"
        raise ValueError(f"parameter {name} {kind} is {there} in the SQL")

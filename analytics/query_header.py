"""The leading comment of a query file, which documents the query: a strict format, and its parser.

    -- title: Cost by model
    -- group: cost
    -- description: What the requests cost, by the model that answered.
    --     A longer text goes on in lines that are indented.
    -- parameter: limit UInt32 1..10000 = 100 | rows at most
    -- column: model [name] | the model that answered
    -- column: cost_usd [USD] | what the requests cost

A parameter without ``= default`` must be given; `since`, `until` and `tenant` need no line. Every parameter
is used in the SQL, with the type that is stated, and the SQL uses no other.
"""

import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from analytics.query_parameters import STANDARD, TYPES, Parameter, parse_range
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
    "share", "ratio", "cosine", "score", "name", "id", "text", "flag", "day", "time",
})  # fmt: skip

_NAME = r"[a-z][a-z0-9_]*"
_FIELD = re.compile(r"-- (title|group|description|parameter|column): (\S.*)")
_CONTINUATION = re.compile(r"--     (\S.*)")
_PARAMETER = re.compile(
    rf"(?P<name>{_NAME}) (?P<type>\S.*?)"
    r"(?: (?P<range>-?[\d.]+?\.\.-?[\d.]+))?"
    r"(?: = (?P<default>\S.*?))? \| (?P<doc>\S.*)"
)
_COLUMN = re.compile(rf"(?P<name>{_NAME}) \[(?P<unit>[^\]]+)\] \| (?P<doc>\S.*)")
_PLACEHOLDER = re.compile(rf"\{{({_NAME}):([^{{}}]+)\}}")


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a result, in the order of the result."""

    name: str
    unit: str
    doc: str


Named = TypeVar("Named", Column, Parameter)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a query file says, and its statement without the leading comment."""

    title: str
    group: str
    description: str
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    sql: str


def parse(file: str, text: str) -> Header:
    """Return what a query file says.

    Args:
        file: its name, for messages.
        text: its content.

    Raises:
        ConfigurationError: it is not in the format above, or its SQL uses other parameters than it states.
    """
    lines = text.splitlines()
    end = next((place for place, line in enumerate(lines) if not line.startswith("--")), len(lines))
    try:
        header = _header(list(_fields(lines[:end])), "\n".join(lines[end:]).strip())
        _check_placeholders(header)
    except ValueError as fault:
        raise ConfigurationError(f"analytics/queries/{file}: {fault}") from fault
    return header


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each field with its whole text."""
    key, text = "", ""
    for line in lines:
        begins, goes_on = _FIELD.fullmatch(line), _CONTINUATION.fullmatch(line)
        if begins:
            if key:
                yield key, text
            key, text = begins[1], begins[2]
        elif goes_on and key:
            text += " " + goes_on[1]
        else:
            raise ValueError(f"{line!r} is neither a field nor the rest of one")
    if key:
        yield key, text


def _header(fields: list[tuple[str, str]], sql: str) -> Header:
    if not sql or ";" in sql:
        raise ValueError("there must be one statement, without a semicolon")
    group = _only(fields, "group")
    if group not in GROUPS:
        raise ValueError(f"group {group!r} is none of {', '.join(GROUPS)}")
    columns = tuple(_column(text) for key, text in fields if key == "column")
    if not columns:
        raise ValueError("there is no column")
    return Header(
        title=_only(fields, "title"),
        group=group,
        description=_only(fields, "description"),
        parameters=_with_standard([_parameter(text) for key, text in fields if key == "parameter"]),
        columns=_unique(columns, "column"),
        sql=sql,
    )


def _only(fields: list[tuple[str, str]], key: str) -> str:
    texts = [text for name, text in fields if name == key]
    if len(texts) != 1:
        raise ValueError(f"there must be one {key}")
    return texts[0]


def _parameter(text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text)
    if match is None or match["type"] not in TYPES:
        raise ValueError(f"parameter {text!r} must be: name Type [low..high] [= default] | what it is")
    low, high = parse_range(match["range"])
    default = match["default"]
    return Parameter(
        name=match["name"],
        type=match["type"],
        default="" if default == "''" else default,
        doc=match["doc"],
        low=low,
        high=high,
    )


def _column(text: str) -> Column:
    match = _COLUMN.fullmatch(text)
    if match is None or match["unit"] not in UNITS:
        raise ValueError(
            f"column {text!r} must be: name [unit] | what it is; units: {', '.join(sorted(UNITS))}"
        )
    return Column(name=match["name"], unit=match["unit"], doc=match["doc"])


def _with_standard(stated: list[Parameter]) -> tuple[Parameter, ...]:
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

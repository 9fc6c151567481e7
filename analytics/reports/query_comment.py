"""The leading comment of a query file or of a part of queries: fields, each with its text.

    -- description: What the requests cost, by the model that answered.
    --     A longer text goes on in lines that are indented.
    -- parameter: limit UInt32 1..10000 = 100 | rows at most
    -- parameter: by String model|tenant = model | what the rows are by

A parameter without ``= default`` must be given. ``low..high`` are bounds of a number, ``one|other`` the words
that a text may be.
"""

import re
from collections.abc import Collection, Iterator

from analytics.reports.query_parameters import TYPES, QueryParameter, parse_range

#: What a parameter, a column and a part may be called.
NAME = r"[a-z][a-z0-9_]*"

_FIELD = re.compile(r"-- ([a-z]+): (\S.*)")
_CONTINUATION = re.compile(r"--     (\S.*)")
_PARAMETER = re.compile(
    rf"(?P<name>{NAME}) (?P<type>\S.*?)"
    r"(?: (?P<range>-?[\d.]+?\.\.-?[\d.]+))?"
    rf"(?: (?P<choices>{NAME}(?:\|{NAME})+))?"
    r"(?: = (?P<default>\S.*?))? \| (?P<doc>\S.*)"
)

Fields = list[tuple[str, str]]


def split(text: str, keys: Collection[str]) -> tuple[Fields, str]:
    """Return the fields of the leading comment, and what follows it.

    Raises:
        ValueError: a line of the comment is neither a field nor the rest of one.
    """
    lines = text.splitlines()
    end = next((place for place, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return list(_fields(lines[:end], keys)), "\n".join(lines[end:]).strip()


def only(fields: Fields, key: str) -> str:
    """Return the text of a field that there must be once.

    Raises:
        ValueError: it is missing, or there twice.
    """
    texts = [text for name, text in fields if name == key]
    if len(texts) != 1:
        raise ValueError(f"there must be one {key}")
    return texts[0]


def parameters(fields: Fields) -> list[QueryParameter]:
    """Return the parameters that are stated.

    Raises:
        ValueError: one is not in the format.
    """
    return [_parameter(text) for key, text in fields if key == "parameter"]


def _fields(lines: list[str], keys: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each field with its whole text."""
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


def _parameter(text: str) -> QueryParameter:
    match = _PARAMETER.fullmatch(text)
    if match is None or match["type"] not in TYPES:
        raise ValueError(f"parameter {text!r} must be: name Type [low..high] [= default] | what it is")
    low, high = parse_range(match["range"])
    default, choices = match["default"], tuple((match["choices"] or "").split("|"))
    words = f": {', '.join(choices)}" if any(choices) else ""
    return QueryParameter(
        name=match["name"],
        type=match["type"],
        default="" if default == "''" else default,
        doc=match["doc"] + words,
        low=low,
        high=high,
        choices=choices if any(choices) else (),
    )

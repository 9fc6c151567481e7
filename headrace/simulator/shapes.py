"""Checks of untyped JSON against the fields an API documents.

A check takes a value and its path and raises `Misfit`; each dialect turns a misfit into its own words.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

Path = tuple[str | int, ...]
Check = Callable[[Any, Path], None]

_TYPE_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class Misfit(Exception):
    """One field that is not as the API documents it.

    Attributes:
        path: Where it is: names and array indexes.
        kind: `missing`, `unknown`, `type`, `value`, `above`, `below`, `empty`, `long` or `pattern`.
        expected: What the field takes, in words (or the limit).
        got: What came instead.
        whole: Whether the field takes integers only.
    """

    def __init__(
        self, path: Path, kind: str, *, expected: str = "", got: str = "", whole: bool = False
    ) -> None:
        super().__init__(f"{path}: {kind}")
        self.path = path
        self.kind = kind
        self.expected = expected
        self.got = got
        self.whole = whole


def type_name(value: Any) -> str:
    """Return a JSON value's type in words, as `a string`."""
    return _TYPE_NAMES.get(type(value), "another type")


def _wrong_type(value: Any, path: Path, expected: str) -> Misfit:
    return Misfit(path, "type", expected=expected, got=type_name(value))


def _bounds(value: float, path: Path, low: float | None, high: float | None, *, whole: bool) -> None:
    if high is not None and value > high:
        raise Misfit(path, "above", expected=str(high), got=str(value), whole=whole)
    if low is not None and value < low:
        raise Misfit(path, "below", expected=str(low), got=str(value), whole=whole)


def number(low: float | None = None, high: float | None = None) -> Check:
    """Take a decimal or an integer within the bounds, which are inclusive."""

    def check(value: Any, path: Path) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(value, path, "a decimal")
        _bounds(value, path, low, high, whole=False)

    return check


def integer(low: int | None = None, high: int | None = None) -> Check:
    """Take an integer within the bounds, which are inclusive."""

    def check(value: Any, path: Path) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(value, path, "an integer")
        _bounds(value, path, low, high, whole=True)

    return check


def boolean(value: Any, path: Path) -> None:
    """Take true or false."""
    if not isinstance(value, bool):
        raise _wrong_type(value, path, "a boolean")


def text(max_chars: int | None = None, *, empty: bool = True) -> Check:
    """Take a string of at most `max_chars` characters."""

    def check(value: Any, path: Path) -> None:
        if not isinstance(value, str):
            raise _wrong_type(value, path, "a string")
        if not value and not empty:
            raise Misfit(path, "empty", expected="a string", got="an empty string")
        if max_chars is not None and len(value) > max_chars:
            raise Misfit(path, "long", expected=str(max_chars), got=str(len(value)))

    return check


_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def named(max_chars: int) -> Check:
    """Take a name of letters, digits, underscores and dashes."""
    length = text(max_chars, empty=False)

    def check(value: Any, path: Path) -> None:
        length(value, path)
        if _NAME.fullmatch(value) is None:
            raise Misfit(path, "pattern", expected="^[a-zA-Z0-9_-]+$", got=value)

    return check


def choice(*values: str) -> Check:
    """Take one of the strings."""

    def check(value: Any, path: Path) -> None:
        if not isinstance(value, str):
            raise _wrong_type(value, path, "a string")
        if value not in values:
            raise Misfit(path, "value", expected=" and ".join(_listed(values)), got=f"'{value}'")

    return check


def _listed(values: tuple[str, ...]) -> list[str]:
    quoted = [f"'{value}'" for value in values]
    return quoted if len(quoted) < 2 else [", ".join(quoted[:-1]), quoted[-1]]


def array(item: Check | None = None, *, low: int = 0, high: int | None = None) -> Check:
    """Take an array of `low` to `high` items that pass `item`."""

    def check(value: Any, path: Path) -> None:
        if not isinstance(value, list):
            raise _wrong_type(value, path, "an array")
        if len(value) < low:
            raise Misfit(path, "empty", expected="an array", got="an empty array")
        if high is not None and len(value) > high:
            raise Misfit(path, "long", expected=str(high), got=str(len(value)))
        if item is not None:
            for index, entry in enumerate(value):
                item(entry, (*path, index))

    return check


def anything(_value: Any, _path: Path) -> None:
    """Take whatever comes: a parameter that has no influence here."""


def mapping(value: Any, path: Path) -> None:
    """Take any object."""
    if not isinstance(value, dict):
        raise _wrong_type(value, path, "an object")


def record(table: Mapping[str, Check], *, required: Collection[str] = (), closed: bool = True) -> Check:
    """Take an object with the fields of `table`; null stands for an absent optional field."""

    def check(value: Any, path: Path) -> None:
        mapping(value, path)
        for name in required:
            if name not in value:
                raise Misfit((*path, name), "missing")
        for name, entry in value.items():
            rule = table.get(name)
            if rule is None:
                if closed:
                    raise Misfit((*path, name), "unknown")
            elif entry is not None or name in required:
                rule(entry, (*path, name))

    return check


def either(expected: str, **by_type: Check) -> Check:
    """Take a string, an array or an object, each by its own check: `either("…", str=…, list=…)`."""

    def check(value: Any, path: Path) -> None:
        rule = by_type.get(type(value).__name__)
        if rule is None:
            raise _wrong_type(value, path, expected)
        rule(value, path)

    return check

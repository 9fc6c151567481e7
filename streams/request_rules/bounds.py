"""Limits of lengths, counts and characters of what senders send."""

import re

from streams.errors import InvalidRequest

MAX_NAME_CHARS = 256

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_at_most(count: int, limit: int, where: str, unit: str = "") -> None:
    """Raise `InvalidRequest` where there are more than `limit`."""
    if count > limit:
        raise InvalidRequest(f"{where}: at most {limit}{unit} are allowed, got {count}", param=where)


def check_name(name: str | None, where: str) -> None:
    """Raise `InvalidRequest` where a name is too long, or would not fit on one line of a log or table."""
    check_at_most(len(name or ""), MAX_NAME_CHARS, where, " characters")
    if has_control_character(name or ""):
        raise InvalidRequest(
            f"{where}: line ends and other control characters are not allowed",
            code="invalid_value",
            param=where,
        )


def has_control_character(text: str) -> bool:
    """Whether a text has a control character, or what some programs read as the end of a line."""
    return _CONTROL.search(text) is not None

"""Bounds of what senders send, and the words for what is beyond them."""

import re

from streams.errors import InvalidRequest
from streams.request_rules.decode_faults import at_most

MAX_NAME_CHARS = 256

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_at_most(count: int, most: int, field: str, unit: str = "") -> None:
    """Check a number of things.

    Raises:
        InvalidRequest: there are more than `most`.
    """
    if count > most:
        raise InvalidRequest(at_most(field, most, count, unit), param=field)


def check_name(name: str | None, where: str) -> None:
    """Check a name: its length, and that logs and tables have it on one line.

    Raises:
        InvalidRequest: it is longer than `MAX_NAME_CHARS`, or has a control character.
    """
    if name is None:
        return
    check_at_most(len(name), MAX_NAME_CHARS, where, " characters")
    if has_control_character(name):
        raise InvalidRequest(
            f"{where}: line ends and other control characters are not allowed",
            code="invalid_value",
            param=where,
        )


def has_control_character(text: str) -> bool:
    """Whether a text has a control character, or what some read as the end of a line."""
    return _CONTROL.search(text) is not None

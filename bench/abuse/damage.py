"""Ways to spoil a record's value."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from bench.abuse.forged import MARK

_WRONG: tuple[Any, ...] = (None, True, -1, 1.5, "", "x", [], [[]], {}, {"a": {}}, 2**63, "9" * 400, "\x00")
#: Fields by which one could take what is another's.
_TELLING = ("request_id", "tenant", "user_id", "cost_usd", "amount_usd", "content", "text", "url", "status")


class Damage:
    """Spoils values; what is no JSON comes back as it was.

    Args:
        chance: where, and how.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def flipped(self, value: bytes) -> bytes:
        """Flip a few bits."""
        spoilt = bytearray(value)
        for _ in range(self._chance.randint(1, 8)):
            spoilt[self._chance.randrange(len(spoilt))] ^= 1 << self._chance.randrange(8)
        return bytes(spoilt)

    def wrong_type(self, value: bytes) -> bytes:
        """Put something else where a field's value stood."""
        return self._with_leaf(value, lambda _: self._chance.choice(_WRONG))

    def long_field(self, value: bytes, chars: int) -> bytes:
        """Make one field too long."""
        return self._with_leaf(value, lambda _: "x" * chars)

    def number(self, value: bytes, number: bytes) -> bytes:
        """Put a number, as it is written, where a field's value stood."""
        return self._with_leaf(value, lambda _: msgspec.Raw(number))

    def transplanted(self, value: bytes) -> bytes:
        """Replace a field by which the record would be another's, or say something else."""
        return self._with_leaf(
            value,
            lambda old: MARK if isinstance(old, str) else 10**6,
            wanted=lambda path: path and path[-1] in _TELLING,
        )

    def _with_leaf(
        self,
        value: bytes,
        change: Callable[[Any], Any],
        wanted: Callable[[tuple[Any, ...]], Any] = lambda _: True,
    ) -> bytes:
        try:
            body = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return value
        places = [path for path in _paths(body) if wanted(path)]
        if not places:
            return value
        return msgspec.json.encode(_changed(body, self._chance.choice(places), change))


def _paths(body: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all values in a body, parents first."""
    inside = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [*([at] if at else []), *(path for name, each in inside for path in _paths(each, (*at, name)))]


def _changed(body: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(body)
    copy = dict(body) if isinstance(body, dict) else list(body)
    copy[path[0]] = _changed(body[path[0]], path[1:], change)
    return copy

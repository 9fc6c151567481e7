"""Which dead letters are meant."""

from contextlib import suppress
from datetime import datetime

import msgspec

from headrace.ops.dlq.letters import Letter
from headrace.ops.dlq.standing import Standing, State
from streams.errors import InputError
from streams.times import FIRST, parse_moment


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Every condition that is given must hold. Names are compared whole; `until` itself is outside."""

    state: State | None = None
    stage: str | None = None
    exception: str | None = None
    topic: str | None = None
    request_id: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def match(self, letter: Letter, standing: Standing) -> bool:
        """Whether a dead letter is meant."""
        named = (
            (self.state, standing.state),
            (self.stage, letter.stage),
            (self.exception, letter.exception),
            (self.topic, letter.topic),
            (self.request_id, letter.request_id),
            (self.tenant, letter.tenant),
        )
        return all(wanted is None or wanted == found for wanted, found in named) and self._in_time(letter)

    @property
    def since_ms(self) -> int | None:
        """The begin as Unix ms."""
        return None if self.since is None else int(self.since.timestamp() * 1000)

    def _in_time(self, letter: Letter) -> bool:
        return (self.since is None or letter.written_at >= self.since) and (
            self.until is None or letter.written_at < self.until
        )


def moment(text: str, *, now: datetime) -> datetime:
    """Return the time that `text` names: see `parse_moment`.

    Raises:
        InputError: it is neither, or lies before 1970.
    """
    with suppress(ValueError):
        at = parse_moment(text, now=now)
        if at >= FIRST:
            return at
    raise InputError(f"{text!r} is no time: write 90s, 30m, 2h or 7d (ago), or 2026-11-21T08:00:00Z")

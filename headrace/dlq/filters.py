"""Which dead letters are meant."""

import re
from datetime import UTC, datetime

import msgspec

from headrace.dlq.letters import Letter
from headrace.dlq.standing import Standing, State
from streams.errors import InputError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)


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
    """Return the time that `text` names: ``90s``, ``30m``, ``2h`` or ``7d`` ago, or an ISO 8601 time.

    An ISO time without an offset is UTC.

    Raises:
        InputError: it is neither, or lies before 1970.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return datetime.fromtimestamp(max(0.0, now.timestamp() - int(ago[1]) * _UNITS_S[ago[2]]), UTC)
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if at.timestamp() >= 0:
            return at
    except (ValueError, OverflowError):
        pass
    raise InputError(f"{text!r} is no time: write 90s, 30m, 2h or 7d (ago), or 2026-11-21T08:00:00Z")

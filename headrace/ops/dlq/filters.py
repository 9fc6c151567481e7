"""Which dead letters are meant."""

from datetime import datetime

import msgspec

from headrace.ops.dlq.letters import LetterSummary
from headrace.ops.dlq.states import LetterState, LetterStatus


class LetterFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Every condition that is given must hold. Names are compared whole; `until` itself is outside."""

    status: LetterStatus | None = None
    stage: str | None = None
    exception: str | None = None
    topic: str | None = None
    request_id: str | None = None
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def match(self, letter: LetterSummary, state: LetterState) -> bool:
        """Whether a dead letter is meant."""
        named = ("stage", "exception", "topic", "request_id", "tenant")
        wanted = ((getattr(self, name), getattr(letter, name)) for name in named)
        return (
            self.status in (None, state.status)
            and all(want in (None, found) for want, found in wanted)
            and (self.since is None or letter.died_at >= self.since)
            and (self.until is None or letter.died_at < self.until)
        )

    @property
    def since_ms(self) -> int | None:
        """The begin as Unix ms."""
        return None if self.since is None else int(self.since.timestamp() * 1000)

"""The values that the journal of provider calls takes and returns; begin with `Claim`."""

from datetime import datetime

import msgspec

from streams.errors import HeadraceError
from streams.events import LlmCall
from streams.models import STANDARD_TIER


class BegunCall(msgspec.Struct, frozen=True, kw_only=True):
    """A provider call as it is known before it is made. `input_tokens` is our own count.

    `service_tier` is the one that is asked for.
    """

    call_id: str
    provider: str
    model: str
    started_at: datetime
    input_tokens: int
    service_tier: str = STANDARD_TIER


class LostCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call without a noted end. `number` is its place among the calls."""

    number: int
    call: BegunCall


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to work on a request: it ends when another attempt takes over.

    `record` holds the request: ``topic:partition:offset``. `attempt` is the number of the claim, which fences
    older ones; `replay` the run of the request, as in its envelope; `deadline_ms` is in Unix ms.
    """

    request_id: str
    record: str
    attempt: int
    deadline_ms: int = 0
    replay: int = 0


class Fenced(HeadraceError):
    """A newer attempt works on the request, or it has its reply: stop, and send nothing on."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(f"attempt {lease.attempt} at request {lease.request_id!r} is no longer wanted")
        self.lease = lease


class Cancelled(HeadraceError):
    """The request is to be ended without an answer, for `reason`; no call was noted, so make none."""

    def __init__(self, lease: Lease, reason: str) -> None:
        super().__init__(f"request {lease.request_id!r} is cancelled: {reason}")
        self.lease = lease
        self.reason = reason


class LeaseState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a lease still stands, and what has cancelled the request, where something has."""

    held: bool
    cancelled: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether the work is still wanted."""
        return self.held and self.cancelled is None


class JournaledCalls(msgspec.Struct, frozen=True, kw_only=True):
    """The calls for a request that the journal knows.

    `lost_calls` have no noted end: they may have been billed, and their answers are lost. `known_calls` are
    those whose end was noted, as they were booked.
    """

    lost_calls: tuple[LostCall, ...] = ()
    known_calls: tuple[LlmCall, ...] = ()


class Claimed(JournaledCalls, frozen=True, kw_only=True):
    """Work on it, showing `lease` at every further step. The calls are those of former attempts."""

    lease: Lease


class ResultStored(msgspec.Struct, frozen=True, kw_only=True):
    """The result is stored, and not known to be sent: send it."""

    lease: Lease
    result: bytes


class HeldElsewhere(msgspec.Struct, frozen=True):
    """Another record of the same request is being worked on: drop this one."""

    record: str


class AlreadySent(msgspec.Struct, frozen=True):
    """The broker has the result: nothing is left to do."""


Claim = Claimed | ResultStored | HeldElsewhere | AlreadySent

"""The retry schedule of records: when a stage tries a record again because Redis or Kafka is away. No I/O.

A stage first waits a few seconds in place. Then the record is *put aside*: a copy goes to the retry topic,
and `agents.runner.relay` sends it back to the stage's topic later. So a long outage blocks neither the
stage's slots nor its commits, and a rebalance need not wait. The limits are the settings HEADRACE_RETRY_*.
`agents.paid_calls.call_policy` is about something else: provider calls that fail.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from streams.backoff import Backoff, spread
from streams.errors import TransientFault
from streams.settings import Settings

#: The waits in place: 0.1, 0.2, 0.4, … 2 s, for HEADRACE_RETRY_IN_PLACE_S in all.
_IN_PLACE = Backoff(first_s=0.1, max_s=2.0, jitter=0)
#: The waits on the retry topic: 1, 2, 4, … s, each at most HEADRACE_RETRY_MAX_DELAY_S.
_FIRST_DELAY_S = 1.0
#: The share by which each wait may differ.
_JITTER = 0.25
#: A record is not put aside when its deadline is nearer than this.
_NOT_WORTH_IT_S = 0.5
#: How long after its deadline a record whose stage spends money still waits for Redis: only the journal knows
#: what earlier deliveries of the record have spent. Redis is back within half a minute.
SPEND_WAITS_S = 60.0


class RecordRetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a record waits, and how often."""

    in_place_s: float  # how long a stage itself waits for what is away
    attempts: int  # how often a record is put aside
    max_delay_s: float  # the longest time it is put aside for

    @classmethod
    def from_settings(cls, settings: Settings) -> "RecordRetryPolicy":
        """Return the policy of an installation."""
        return cls(
            in_place_s=settings.retry_in_place_s,
            attempts=settings.retry_attempts,
            max_delay_s=settings.retry_max_delay_s,
        )


class WaitInPlace(msgspec.Struct, frozen=True):
    """Try again in the stage, after so many seconds."""

    seconds: float


class PutAside(msgspec.Struct, frozen=True):
    """Try again from the retry topic, not before this time."""

    not_before: datetime


class GiveUp(msgspec.Struct, frozen=True):
    """Tell the sender that the deadline has passed."""


class MakeDeadLetter(msgspec.Struct, frozen=True):
    """Keep the record as a dead letter: it was put aside as often as it may be."""


RecordRetryDecision = WaitInPlace | PutAside | GiveUp | MakeDeadLetter


class RecordRetrySituation(msgspec.Struct, frozen=True, kw_only=True):
    """A record that met a transient fault."""

    now: datetime
    began_at: datetime  # when the stage began with it
    deadline_at: datetime
    tries: int  # how often it was tried since `began_at`, at least once
    attempt: int  # how often it was put aside before
    terminal: bool = False  # whether it holds a request's result, which must get out however late it is
    spends: bool = False  # whether the stage spends money on it, which must be booked whatever becomes of it


def decide_record_retry(
    at: RecordRetrySituation, fault: TransientFault, policy: RecordRetryPolicy, *, jitter: Callable[[], float]
) -> RecordRetryDecision:
    """Return what becomes of a record that met `fault`.

    No wait goes beyond the deadline: the last try is made at it. A record that holds a result is neither
    given up nor made a dead letter: it may be put aside without end, because the cost stage itself knows when
    to do without what is away. Its sender may have a reply, and a dead letter would tell it another one. A
    record that may have spent money is given up `SPEND_WAITS_S` after its deadline.

    `jitter` returns random numbers from 0 to 1, so that records do not come back together.
    """
    left_s = (at.deadline_at - at.now).total_seconds()
    late = left_s <= 0
    if not at.terminal and left_s + (SPEND_WAITS_S if at.spends else 0) <= 0:
        return GiveUp()
    luck = jitter()
    wait_s = spread(_IN_PLACE.wait_s(at.tries), jitter=_JITTER, luck=luck)
    wait_s = wait_s if late else min(wait_s, left_s)
    spent_s = (at.now - at.began_at).total_seconds()
    if fault.in_place and (spent_s + wait_s <= policy.in_place_s or 0 < left_s <= _NOT_WORTH_IT_S):
        return WaitInPlace(wait_s)
    if at.attempt >= policy.attempts and not at.terminal:
        return MakeDeadLetter()
    doubled_s = Backoff(first_s=_FIRST_DELAY_S, max_s=policy.max_delay_s, jitter=0).wait_s(at.attempt + 1)
    delay_s = spread(max(doubled_s, fault.retry_after_s), jitter=_JITTER, luck=luck)
    delay_s = min(delay_s, policy.max_delay_s)
    return PutAside(at.now + timedelta(seconds=delay_s if late else min(delay_s, left_s)))

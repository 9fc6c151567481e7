"""Whether a record whose dependency is away is tried again, and when: decisions without any I/O.

A stage waits a few seconds in place. After that the record is *put aside*: a copy of it goes to the retry
topic, and comes back to the stage's topic after a while (see `agents.runner.relay`). So a long outage holds
neither the stage's slots nor its commits, and a rebalance never waits for it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from streams.errors import TransientFault
from streams.settings import Settings

_FIRST_WAIT_S = 0.1
_MAX_WAIT_S = 2.0
_FIRST_DELAY_S = 1.0
#: So near to the deadline a record stays where it is.
_NOT_WORTH_IT_S = 0.5
_JITTER = 0.25
#: How long after its deadline a record that may have spent money waits for what is away: what was spent on it
#: before it came again is known there only. Redis is back within half a minute.
SPEND_WAITS_S = 60.0


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a record waits, and how often.

    Attributes:
        in_place_s: how long a stage itself waits for what is away.
        attempts: how often a record is put aside.
        max_delay_s: the longest time it is put aside for.
    """

    in_place_s: float
    attempts: int
    max_delay_s: float

    @classmethod
    def from_settings(cls, settings: Settings) -> "RetryPolicy":
        """Return the policy of an installation."""
        return cls(
            in_place_s=settings.retry_in_place_s,
            attempts=settings.retry_attempts,
            max_delay_s=settings.retry_max_delay_s,
        )


class Wait(msgspec.Struct, frozen=True):
    """Try again in the stage, after so many seconds."""

    seconds: float


class PutAside(msgspec.Struct, frozen=True):
    """Try again from the retry topic, not before this time."""

    not_before: datetime


class GiveUp(msgspec.Struct, frozen=True):
    """Tell the sender: the deadline is there."""


class Bury(msgspec.Struct, frozen=True):
    """Keep it as a dead letter: it was put aside as often as it may be."""


Decision = Wait | PutAside | GiveUp | Bury


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """A record that met a transient fault.

    Attributes:
        now: the time.
        began_at: when the stage began with it.
        deadline_at: its request's deadline.
        tries: how often it was tried since `began_at`, at least once.
        attempt: how often it was put aside before.
        terminal: whether it holds the result of a request, which must get out however late it is.
        spends: whether the stage spends money on it, all of which must be booked with what becomes of it.
    """

    now: datetime
    began_at: datetime
    deadline_at: datetime
    tries: int
    attempt: int
    terminal: bool = False
    spends: bool = False


def decide(
    at: Situation, fault: TransientFault, policy: RetryPolicy, *, jitter: Callable[[], float]
) -> Decision:
    """Return what becomes of a record that met `fault`.

    No wait goes beyond the deadline: the last try is made at it. What holds a result is neither given up nor
    buried: it may be put aside without end, because the cost stage itself knows when to do without what is
    away. Its sender may have a reply, and would be told another one from the dead letter. What may have spent
    money is given up `SPEND_WAITS_S` after its deadline.

    Args:
        at: the record and its history.
        fault: asks for a pause, perhaps.
        policy: the settings.
        jitter: returns random numbers from 0 to 1, lest all records come back at once.
    """
    left_s = (at.deadline_at - at.now).total_seconds()
    late = left_s <= 0
    if not at.terminal and left_s + (SPEND_WAITS_S if at.spends else 0) <= 0:
        return GiveUp()
    spread = 1 + _JITTER * (2 * jitter() - 1)
    wait_s = _exponential(_FIRST_WAIT_S, at.tries - 1, _MAX_WAIT_S) * spread
    wait_s = wait_s if late else min(wait_s, left_s)
    spent_s = (at.now - at.began_at).total_seconds()
    if fault.in_place and (spent_s + wait_s <= policy.in_place_s or 0 < left_s <= _NOT_WORTH_IT_S):
        return Wait(wait_s)
    if at.attempt >= policy.attempts and not at.terminal:
        return Bury()
    delay_s = max(_exponential(_FIRST_DELAY_S, at.attempt, policy.max_delay_s), fault.retry_after_s) * spread
    delay_s = min(delay_s, policy.max_delay_s)
    return PutAside(at.now + timedelta(seconds=delay_s if late else min(delay_s, left_s)))


def backoff_s(tries: int, *, jitter: Callable[[], float]) -> float:
    """Return how long to wait after `tries` failed tries of something that is tried until it works."""
    return _exponential(_FIRST_WAIT_S, tries - 1, _MAX_WAIT_S) * (1 + _JITTER * (2 * jitter() - 1))


def _exponential(first: float, doublings: int, limit: float) -> float:
    grown: float = first * 2.0 ** min(doublings, 30)
    return min(grown, limit)

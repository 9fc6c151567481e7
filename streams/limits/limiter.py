"""Takes what a request needs of all its limits, or nothing: one round trip to Redis.

found = await limiter.take(request_id, [Take(subject=subject, tokens=1_000)], attempt="a", permit_s=60)
match found:
    case Taken():
        ...  # the work
        await limiter.finish(found, tokens=730)
    case Known():
        ...  # a repeat: nothing was taken
    case LimitExceeded(wait_s=wait_s):
        ...  # nothing was taken
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from streams.limits.scripts import FINISH, LOOK, TAKE
from streams.limits.subjects import LimitKind, LimitSubject
from streams.redis.connection import store_faults
from streams.redis.keys import LIMIT_CHARGED, digest

_US = 1_000_000
_NEVER = -1


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """What a request takes of one subject's limits."""

    subject: LimitSubject
    requests: int = 1
    tokens: int = 0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a subject's limits is in use, and in how many seconds nothing of the last minute counts."""

    subject: LimitSubject
    requests: int
    tokens: int
    concurrent: int
    whole_in_s: float

    def used(self, kind: LimitKind) -> int:
        """Return how much of a limit is in use."""
        return int(getattr(self, kind.value))

    def remaining(self, kind: LimitKind) -> int | None:
        """Return how much may still be taken; None where there is no limit."""
        limit = kind.of(self.subject.bounds)
        return None if limit is None else max(0, limit - self.used(kind))


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The request may run; it has taken `tokens`, at the time of each subject, until `finish`."""

    request: str
    tokens: int
    standings: tuple[Standing, ...]
    times: tuple[int, ...]
    has_permit: bool


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The request was counted before: nothing was taken."""

    standings: tuple[Standing, ...]


class LimitExceeded(msgspec.Struct, frozen=True, kw_only=True):
    """The request is over a limit, the one that takes longest to have room: nothing was taken.

    `wait_s` is None where the request alone is larger than the limit.
    """

    standings: tuple[Standing, ...]
    over: Standing
    kind: LimitKind
    take: Take
    wait_s: float | None


class RateLimiter:
    """Counts in Redis, for all processes together.

    `clock` returns microseconds in place of Redis's own clock, for tests. Every method raises
    `StoreUnavailable` where Redis does not answer.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock
        self._take = redis.register_script(TAKE)
        self._finish = redis.register_script(FINISH)
        self._look = redis.register_script(LOOK)

    async def take(
        self, request_id: str, takes: Sequence[Take], *, attempt: str, entry: str, permit_s: float = 0.0
    ) -> Taken | Known | LimitExceeded:
        """Take all of this, and a permit for `permit_s` seconds at most (0: none), or say what is exceeded.

        A request that was counted within the last minute, or whose key `entry` is in Redis, is `Known`. The
        same `attempt` may be made twice: it takes once.
        """
        request = digest(request_id)
        keys, args = [LIMIT_CHARGED.key(request), entry], [self._now(), attempt, request, int(permit_s * _US)]
        for each in takes:
            subject = each.subject
            keys += (subject.times, subject.counts, subject.permits)
            args += (kind.of(subject.bounds) or 0 for kind in LimitKind)
            args += (each.requests, each.tokens)
        with store_faults("checking the limits"):
            verdict, refused, kind, wait, *numbers = await self._take(keys=keys, args=args)
        found = _rows(numbers, 5)
        standings = tuple(_standing(each.subject, row) for each, row in zip(takes, found, strict=True))
        if verdict == b"known":
            return Known(standings=standings)
        if verdict == b"refused":
            return LimitExceeded(
                standings=standings,
                over=standings[refused - 1],
                kind=LimitKind(kind.decode()),
                take=takes[refused - 1],
                wait_s=None if wait == _NEVER else wait / _US,
            )
        return Taken(
            request=request,
            tokens=takes[0].tokens,
            standings=standings,
            times=tuple(row[-1] for row in found),
            has_permit=permit_s > 0 and any(each.subject.bounds.concurrent_requests for each in takes),
        )

    async def finish(self, taken: Taken, *, tokens: int | None) -> None:
        """Give the permit back, and count `tokens` in place of what was taken; None leaves that as it is."""
        keys = [key for each in taken.standings for key in (each.subject.counts, each.subject.permits)]
        change = 0 if tokens is None or not taken.tokens else tokens - taken.tokens
        with store_faults("giving a permit back"):
            await self._finish(keys=keys, args=[taken.request, change, *taken.times])

    async def look(self, subjects: Sequence[LimitSubject]) -> tuple[Standing, ...]:
        """Return how much of these subjects' limits is in use."""
        keys = [key for each in subjects for key in (each.times, each.counts, each.permits)]
        with store_faults("reading the limits"):
            numbers = await self._look(keys=keys, args=[self._now()])
        return tuple(_standing(each, row) for each, row in zip(subjects, _rows(numbers, 4), strict=True))

    def _now(self) -> Any:
        return "" if self._clock is None else self._clock()


def _rows(numbers: Sequence[int], length: int) -> list[Sequence[int]]:
    return [numbers[at : at + length] for at in range(0, len(numbers), length)]


def _standing(subject: LimitSubject, row: Sequence[int]) -> Standing:
    requests, tokens, concurrent, whole_in_us = row[:4]
    return Standing(
        subject=subject,
        requests=requests,
        tokens=tokens,
        concurrent=concurrent,
        whole_in_s=max(0, whole_in_us) / _US,
    )

"""Erases a user: first an erasure record, so that nothing of them is stored any more, then what is there.

Every step can be repeated, and none depends on what an earlier run remembers: killed anywhere, the same
command goes on. Redis comes before ClickHouse, because ClickHouse knows which requests were the user's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from analytics.erasure.row_eraser import USERS_ROLLUP, RowEraser, UsersRollup
from headrace.ops.privacy.redis_eraser import RedisEraser, StoredTexts
from headrace.ops.privacy.report import ErasureReport, ErasureVerdict, StoredItems
from headrace.ops.privacy.user_requests import retained_topics
from streams.erasure.erasures import Subject
from streams.erasure.feed import ErasureFeed, erasure_emit
from streams.errors import HeadraceError
from streams.events import Erasure, ErasureMode
from streams.publisher import Publisher

_POLL_S = 1.0

#: Finds the ids of a user's requests that are on Kafka, up to the time of the erasure.
FindRequests = Callable[[Subject, Erasure], Awaitable[set[str]]]


class AlreadyDeleted(HeadraceError):
    """The user's rows were deleted: a milder erasure would let those that arrive again later in."""


class _Look(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of a user's."""

    rows: dict[str, int]
    rollup_days: int
    redis: StoredTexts

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """The number of items by part and name."""
        return {
            **{("ClickHouse", name): number for name, number in self.rows.items()},
            ("ClickHouse", USERS_ROLLUP): self.rollup_days,
            ("Redis", "stored replies"): self.redis.replies,
            ("Redis", "cached answers"): self.redis.cached_answers,
            ("Redis", "waiting webhooks"): self.redis.webhooks,
        }

    @property
    def clean(self) -> bool:
        """Whether there is nothing."""
        return not any(self.counts.values())


@dataclass(frozen=True, kw_only=True)
class Eraser:
    """Erases users."""

    feed: ErasureFeed
    publisher: Publisher
    rows: RowEraser
    rollup: UsersRollup
    redis: RedisEraser
    find_requests: FindRequests
    clock: Callable[[], datetime]
    progress: Callable[[str], None]

    async def plan(self, subject: Subject, mode: ErasureMode) -> ErasureReport:
        """Return what an erasure would find. Nothing is changed.

        Raises:
            AlreadyDeleted: the user's rows were deleted, and the mode is a milder one.
            TransientFault: a part does not answer.
        """
        erasure = await self._order(subject, mode)
        ids = await self._requests(subject, erasure)
        look = await self._look(subject, erasure, ids)
        return _report(erasure, ids, look, look, ErasureVerdict.PLANNED)

    async def erase(self, subject: Subject, mode: ErasureMode, *, wait_s: float) -> ErasureReport:
        """Erase a user.

        `wait_s` is how long to wait for requests that are under way, and for a look that finds nothing.

        Raises:
            AlreadyDeleted: the user's rows were deleted, and the mode is a milder one.
            TransientFault: a part does not answer; what is done is done, and the rest is for the next run.
        """
        erasure = await self._order(subject, mode)
        self.progress("putting the user on the list of erasures")
        await self.publisher.publish(erasure_emit(erasure))
        ids = await self._requests(subject, erasure)
        first = look = await self._look(subject, erasure, ids)
        deadline = time.monotonic() + wait_s
        while True:
            self.progress(f"erasing {len(ids)} requests")
            await self.redis.erase(subject.tenant, ids)
            if any(look.rows.values()):
                await self.rows.erase(subject, erasure)
            await self.rollup.erase(subject, erasure)
            look = await self._look(subject, erasure, ids)
            done = look.clean and not look.redis.running
            if done or time.monotonic() >= deadline:
                return _report(erasure, ids, first, look, _verdict(look))
            self.progress(f"{look.redis.running} requests are under way; waiting for them to end")
            await asyncio.sleep(_POLL_S)

    async def _order(self, subject: Subject, mode: ErasureMode) -> Erasure:
        known = await self.feed.current()
        former = known.find(subject)
        if former is not None and former.mode == "delete" and mode != "delete":
            raise AlreadyDeleted(
                "this user was erased before with --mode delete: use it again, or what arrives again of "
                "that time would be stored"
            )
        return known.ordered(subject, mode=mode, until=self.clock())

    async def _requests(self, subject: Subject, erasure: Erasure) -> set[str]:
        self.progress("looking for the user's requests")
        return set(await self.rows.request_ids(subject, erasure)) | await self.find_requests(subject, erasure)

    async def _look(self, subject: Subject, erasure: Erasure, ids: set[str]) -> _Look:
        return _Look(
            rows=await self.rows.count(subject, erasure),
            rollup_days=len(await self.rollup.days(subject, erasure)),
            redis=await self.redis.look(subject.tenant, ids),
        )


def _verdict(look: _Look) -> ErasureVerdict:
    if not look.clean:
        return ErasureVerdict.LEFT
    return ErasureVerdict.UNDER_WAY if look.redis.running else ErasureVerdict.ERASED


def _report(
    erasure: Erasure, ids: set[str], first: _Look, last: _Look, verdict: ErasureVerdict
) -> ErasureReport:
    left = last.counts
    return ErasureReport(
        tenant=erasure.tenant,
        mode=erasure.mode,
        pseudonym=erasure.pseudonym,
        until=erasure.until,
        requests=len(ids),
        places=tuple(
            StoredItems(part=part, name=name, found=found, left=left[part, name])
            for (part, name), found in first.counts.items()
        ),
        under_way=last.redis.running,
        kept=retained_topics(erasure.until),
        verdict=verdict,
    )

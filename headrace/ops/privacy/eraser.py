"""Erases a user: first an erasure record, so that nothing of them is stored any more, then what is there.

Every step can be repeated, and none depends on what an earlier run remembers: killed anywhere, the same
command goes on. Redis comes before ClickHouse, because ClickHouse knows which requests were the user's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

import msgspec
from aiokafka import ConsumerRecord

from agents.intake.envelopes import DEFAULT_TENANT, accepted_at, request_id_of
from analytics.erasure.row_eraser import USERS_ROLLUP, RowEraser, UsersRollup
from headrace.ops.privacy.redis_eraser import RedisEraser, RedisFindings
from headrace.ops.topic_reader import RECORDS_BEFORE, REQUEST_EVENTS, TopicReader
from streams.codec import decode
from streams.erasure import ErasureFeed, Subject, erasure_emit
from streams.errors import HeadraceError, InputError
from streams.events import Erasure, ErasureMode, Requested
from streams.kafka.record_auth import UNSIGNED
from streams.pipeline import PERSONAL_TOPICS
from streams.publisher import Publisher
from streams.redelivery import Record


class _RequestOwner(msgspec.Struct, frozen=True):
    """The fields that say whose a request is. Most records are decoded no further."""

    user_id: str
    tenant: str | None = None


_owner = msgspec.json.Decoder(_RequestOwner)


async def requests_of(reader: TopicReader, subject: Subject, *, since_ms: int, until: datetime) -> set[str]:
    """Return the ids of the user's requests written at `since_ms` or later and accepted up to `until`."""
    # To the very end: senders' clocks differ, and one that is ahead must not end the search.
    spans = await reader.spans(
        REQUEST_EVENTS, since_ms=since_ms, records_before=RECORDS_BEFORE, missing_ok=True
    )
    ids = {_request_of(record, subject, until) async for record in reader.records(spans)}
    return {request_id for request_id in ids if request_id is not None}


def _request_of(record: ConsumerRecord, subject: Subject, until: datetime) -> str | None:
    try:
        owner = _owner.decode(record.value or b"")
        if Subject(owner.tenant or DEFAULT_TENANT, owner.user_id) != subject:
            return None
        request: Requested = decode(record.value, REQUEST_EVENTS[record.topic], tuple(record.headers))
        read = Record.of(record, UNSIGNED)  # also what Headrace did not write: it names the user
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputError):
        return None  # not a request: it is in a dead letter
    return request_id_of(read, request) if accepted_at(read, request) <= until else None


_POLL_S = 1.0

#: Finds the ids of a user's requests that are on Kafka, up to the time of the erasure.
FindRequests = Callable[[Subject, Erasure], Awaitable[set[str]]]


class AlreadyDeleted(HeadraceError):
    """The user's rows were deleted: a milder erasure would let those that arrive again later in."""


class ErasureVerdict(StrEnum):
    """How an erasure ended."""

    PLANNED = "planned"  # a dry run: nothing was changed
    ERASED = "erased"  # the last look found nothing
    UNDER_WAY = "under way"  # requests of the user have not ended yet: run it again
    LEFT = "left"  # something is still there: run it again


class StoredItems(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of stored data: how many items the first look found, and how many the last one."""

    part: str
    name: str
    found: int
    left: int


class RetainedTopic(msgspec.Struct, frozen=True, kw_only=True):
    """What of the user stays on a topic, and until when; deleting whole segments may take hours more."""

    topic: str
    until: datetime


class ErasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result, which does not name the user; `kept` is what stays on Kafka until its retention is over."""

    tenant: str
    mode: ErasureMode
    pseudonym: str
    until: datetime
    requests: int
    places: tuple[StoredItems, ...]
    under_way: int
    kept: tuple[RetainedTopic, ...]
    verdict: ErasureVerdict


class _Look(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a user."""

    rows: dict[str, int]  # by table
    rollup_days: int
    redis: RedisFindings

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """The number of items by part and name."""
        return {
            **{("ClickHouse", name): number for name, number in self.rows.items()},
            ("ClickHouse", USERS_ROLLUP): self.rollup_days,
            **{("Redis", name): number for name, number in self.redis.counts.items()},
        }

    @property
    def clean(self) -> bool:
        """Whether nothing is stored."""
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
        """Return what an erasure would find. Nothing is changed. Raises as `erase` does."""
        erasure = await self._order(subject, mode)
        ids = await self._requests(subject, erasure)
        look = await self._look(subject, erasure, ids)
        return _report(erasure, ids, look, look, ErasureVerdict.PLANNED)

    async def erase(self, subject: Subject, mode: ErasureMode, *, wait_s: float) -> ErasureReport:
        """Erase a user; wait `wait_s` for an empty look. Raises `AlreadyDeleted` or `TransientFault`."""
        erasure = await self._order(subject, mode)
        self.progress("putting the user on the list of erasures")
        await self.publisher.publish(erasure_emit(erasure))
        ids = await self._requests(subject, erasure)
        first = look = await self._look(subject, erasure, ids)
        deadline = time.monotonic() + wait_s
        while True:
            self.progress(f"erasing {len(ids)} requests")
            await self.redis.erase(subject.tenant, look.redis)
            if any(look.rows.values()):
                await self.rows.erase(subject, erasure)
            await self.rollup.erase(subject, erasure)
            look = await self._look(subject, erasure, ids)
            done = look.clean and not look.redis.running
            if done or time.monotonic() >= deadline:
                return _report(erasure, ids, first, look, _verdict(look))
            self.progress(f"{look.redis.running} requests are under way; waiting for them to end")
            await asyncio.sleep(_POLL_S)
            look = await self._look(subject, erasure, ids)

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
            redis=await self.redis.find(subject.tenant, ids),
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


def retained_topics(erased_at: datetime) -> tuple[RetainedTopic, ...]:
    """Return how long the topics keep what was on them when a user was erased."""
    return tuple(
        RetainedTopic(topic=topic.name, until=erased_at + timedelta(milliseconds=topic.retention_ms))
        for topic in PERSONAL_TOPICS
    )


_SAYS = {
    ErasureVerdict.PLANNED: "Nothing was changed. With --yes instead of --dry-run all of it goes.",
    ErasureVerdict.ERASED: "A last look found nothing.",
    ErasureVerdict.UNDER_WAY: "Requests of the user are still under way: run it again when they have ended.",
    ErasureVerdict.LEFT: "Something is still there: run it again.",
}


def lines(report: ErasureReport) -> Iterator[str]:
    """Yield the lines of a report."""
    planned = report.verdict is ErasureVerdict.PLANNED
    yield f"{report.requests} requests of a user of {report.tenant}, accepted until {_time(report.until)}"
    if report.mode == "anonymise" and not planned:
        yield f"their rows now belong to {report.pseudonym}"
    for items in report.places:
        left = "" if planned else f"{items.left:>10} left"
        yield f"  {items.part:<11}{items.name:<20}{items.found:>10} found{left}"
    if report.under_way:
        yield f"  {report.under_way} requests have not ended"
    until = attrgetter("until")
    yield "Kafka keeps its records as they are, and deletes them by itself, at the latest"
    for end, topics in groupby(sorted(report.kept, key=until), key=until):
        yield f"  {_time(end)}  {', '.join(each.topic for each in topics)}"
    yield _SAYS[report.verdict]


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")

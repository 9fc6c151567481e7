"""The whole erasure on real parts: what it does, and that it can be killed anywhere and run again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser, UsersRollup
from analytics.rollups.refresh import RollupRefresher
from analytics.sink.batches import OffsetRange, SinkBatch
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from headrace.ops.privacy.eraser import AlreadyDeleted, Eraser, ErasureReport, ErasureVerdict
from headrace.ops.privacy.redis_eraser import RedisEraser
from streams.erasure import ErasureFeed, Subject
from streams.events import Erasure, ErasureMode, Payload, Reply, ReplyAddress, RequestLog, Status
from streams.publisher import Publisher
from streams.registry.registry import RequestRegistry
from tests.analytics.logs import NOON, make_log, make_record

pytestmark = pytest.mark.integration

TEXT = Payload(request_text="I am Ann", reply_text="Hello Ann")
COST = Decimal("0.000700001")


class Killed(Exception):
    """The process has died here."""


class World:
    """Everything that an erasure touches, with two users' requests in it."""

    def __init__(self, bootstrap: str, clickhouse: ClickHouse, redis: Redis, tenant: str) -> None:
        self.clickhouse, self.redis, self.tenant = clickhouse, redis, tenant
        self.bootstrap = bootstrap
        self.feed = ErasureFeed(bootstrap, client_id="test")
        self.publisher = Publisher(bootstrap, client_id="test")
        self.registry = RequestRegistry(redis, ttl_s=600)
        self.ann, self.bob = Subject(tenant, f"ann-{uuid4().hex}"), Subject(tenant, f"bob-{uuid4().hex}")
        self.on_kafka: set[str] = set()
        self.said: list[str] = []

    def eraser(self, **parts: object) -> Eraser:
        async def find(subject: Subject, erasure: Erasure) -> set[str]:
            return self.on_kafka if subject == self.ann else set()

        given = {
            "feed": self.feed,
            "publisher": self.publisher,
            "rows": RowEraser(self.clickhouse),
            "rollup": UsersRollup(self.clickhouse),
            "redis": RedisEraser(self.redis),
            "find_requests": find,
            "clock": lambda: datetime.now(UTC),
            "progress": self.said.append,
        }
        return Eraser(**(given | parts))  # type: ignore[arg-type]  # by name

    def another(self) -> "World":
        """Two users of another tenant, on the same parts."""
        other = World(self.bootstrap, self.clickhouse, self.redis, f"t-{uuid4().hex[:8]}")
        other.feed, other.publisher = self.feed, self.publisher
        return other

    async def erase(self, mode: ErasureMode = "anonymise", **parts: object) -> ErasureReport:
        return await self.eraser(**parts).erase(self.ann, mode, wait_s=0)

    async def fill(self) -> list[RequestLog]:
        logs = await self.add_requests()
        await refresh(self.clickhouse)
        return logs

    async def add_requests(self) -> list[RequestLog]:
        logs = [self.log(subject, number) for number, subject in enumerate((self.ann, self.bob, self.ann))]
        await self.store(logs)
        for log in logs:
            await self.settle(log.request_id)
        return logs

    def log(self, subject: Subject, number: int) -> RequestLog:
        return make_log(
            f"{self.tenant}-{number}",
            tenant=self.tenant,
            user_id=subject.user_id,
            payload=TEXT,
            cost_usd=COST,
            accepted_at=NOON + timedelta(seconds=number),
        )

    async def store(self, logs: list[RequestLog], topic: str = "t") -> None:
        writer = BatchWriter(self.clickhouse, self.publisher, SinkStatus(), erasures=self.feed)
        records = tuple(make_record(offset, log) for offset, log in enumerate(logs))
        bounds = OffsetRange(0, len(logs) - 1)
        await writer.write(
            SinkBatch(topic=f"{self.tenant}.{topic}", partition=0, range=bounds, records=records)
        )

    async def register(self, request_id: str) -> None:
        await self.registry.register(
            request_id,
            tenant=self.tenant,
            body="print",
            origin="o",
            running=True,
            reply_to=ReplyAddress(topic="llm.replies.v1"),
        )

    async def settle(self, request_id: str) -> None:
        await self.register(request_id)
        reply = Reply(request_id=request_id, status=Status.ANSWERED, content="Hello Ann", cost_usd=COST)
        await self.registry.begin_settle(reply, tenant=self.tenant)
        await self.registry.finish_settle(request_id)

    async def content(self, request_id: str) -> str:
        state = await self.registry.find(request_id)
        assert state is not None
        assert state.reply is not None
        return state.reply.content

    async def users(self, table: str = "requests_raw") -> dict[str, int]:
        sql = f"SELECT user_id, count() AS n FROM {table} WHERE tenant = {{tenant:String}} GROUP BY user_id"
        rows = await self.clickhouse.query(sql, {"tenant": self.tenant})
        return {row["user_id"]: row["n"] for row in rows}

    async def cost(self) -> Decimal:
        [row] = await self.clickhouse.query("SELECT sum(cost_usd) AS usd FROM requests")
        return Decimal(row["usd"])


async def refresh(clickhouse: ClickHouse) -> None:
    while (await RollupRefresher(clickhouse).refresh()).due:
        pass


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for the end of a mutation more often than in service: these are over within milliseconds."""
    monkeypatch.setattr("analytics.erasure.row_eraser._POLL_S", 0.02)


@pytest.fixture
async def world(
    kafka_bootstrap: str, clickhouse: ClickHouse, redis: Redis, tenant: str
) -> AsyncIterator[World]:
    world = World(kafka_bootstrap, clickhouse, redis, tenant)
    async with world.publisher, world.feed:
        yield world


def found(report: ErasureReport) -> dict[str, int]:
    return {place.name: place.found for place in report.places if place.found}


def left(report: ErasureReport) -> dict[str, int]:
    return {place.name: place.left for place in report.places if place.left}


EVERYTHING = {
    "payloads_raw": 2,
    "llm_calls_raw": 2,
    "requests_raw": 2,
    "rollup_users_1d": 1,
    "stored replies": 2,
}


async def test_a_user_is_forgotten_everywhere(world: World) -> None:
    """The cost stays booked, the other user untouched, and what arrives again stays anonymous."""
    logs = await world.fill()
    report = await world.erase()
    assert (report.verdict, report.requests, left(report)) == (ErasureVerdict.ERASED, 2, {})
    assert found(report) == EVERYTHING
    for table in ("requests_raw", "llm_calls_raw", "rollup_users_1d"):
        assert set(await world.users(table)) == {report.pseudonym, world.bob.user_id}
    assert await world.users("payloads_raw") == {world.bob.user_id: 1}
    assert [await world.content(log.request_id) for log in logs] == ["", "Hello Ann", ""]
    assert await world.cost() == 3 * COST
    await world.store(logs[1:], topic="again")
    assert set(await world.users()) == {report.pseudonym, world.bob.user_id}
    assert await world.cost() == 3 * COST
    assert world.ann.user_id not in repr(report)


async def test_a_dry_run_changes_nothing(world: World) -> None:
    """It finds what an erasure would; nobody is put on the list."""
    await world.fill()
    report = await world.eraser().plan(world.ann, "anonymise")
    assert (report.verdict, found(report)) == (ErasureVerdict.PLANNED, EVERYTHING)
    assert (await world.feed.current()).find(world.ann) is None
    assert (await world.users())[world.ann.user_id] == 2


async def test_erasing_again_finds_nothing(world: World) -> None:
    """Under the same pseudonym."""
    await world.fill()
    first = await world.erase()
    again = await world.erase()
    assert (again.verdict, found(again), again.requests) == (ErasureVerdict.ERASED, {}, 2)
    assert again.pseudonym == first.pseudonym
    assert again.until > first.until


async def test_an_unknown_user_is_put_on_the_list_all_the_same(world: World) -> None:
    """Something of theirs may be on its way."""
    report = await world.erase()
    assert (report.verdict, report.requests) == (ErasureVerdict.ERASED, 0)
    await world.store([world.log(world.ann, 1)])
    assert await world.users() == {report.pseudonym: 1}


#: What a run changes, in this order; everything else that it asks of its parts is a question.
CHANGES = ("publisher.publish", "redis.erase", "rows.erase", "rollup.erase")
QUESTIONS = ("rows.request_ids", "rows.count", "rollup.days", "redis.find")


@pytest.mark.parametrize("mode", ["anonymise", "delete"])
async def test_killed_anywhere_it_is_run_again(world: World, mode: ErasureMode) -> None:
    """After each change to a part the next run finds the rest.

    A question leaves nothing behind: a run that is killed after one has done what it had done before.
    `tests/analytics/erasure/test_erasing_rollups.py` kills between the statements of a change.
    """
    worlds = [world, *(world.another() for _ in CHANGES[1:])]
    for each in worlds:
        await each.add_requests()
    await refresh(world.clickhouse)
    for number, each in enumerate(worlds, start=1):
        dying = _Dying(after=number)
        parts = {
            "publisher": dying.part("publisher", each.publisher),
            "redis": dying.part("redis", RedisEraser(each.redis)),
            "rows": dying.part("rows", RowEraser(each.clickhouse)),
            "rollup": dying.part("rollup", UsersRollup(each.clickhouse)),
        }
        with pytest.raises(Killed):
            await each.erase(mode, **parts)
        assert dying.done == [*CHANGES[:number]]
        await _erased_by_another_run(each, mode)


async def _erased_by_another_run(world: World, mode: ErasureMode) -> None:
    # What ClickHouse has lost by now is found on Kafka, as in reality.
    world.on_kafka = {f"{world.tenant}-0", f"{world.tenant}-2"}
    report = await world.erase(mode)
    assert (report.verdict, left(report)) == (ErasureVerdict.ERASED, {})
    others = {report.pseudonym} if mode == "anonymise" else set()
    assert set(await world.users()) == {world.bob.user_id} | others
    assert set(await world.users("rollup_users_1d")) == {world.bob.user_id} | others
    assert [await world.content(f"{world.tenant}-{number}") for number in range(3)] == ["", "Hello Ann", ""]


async def test_requests_under_way_are_waited_for(world: World) -> None:
    """What they leave when they end is erased as well."""
    await world.fill()
    running = f"{world.tenant}-running"
    world.on_kafka = {running}
    await world.register(running)
    early = await world.erase()
    assert (early.verdict, early.under_way) == (ErasureVerdict.UNDER_WAY, 1)
    erasing = asyncio.create_task(world.eraser().erase(world.ann, "anonymise", wait_s=60))
    while not any("under way" in line for line in world.said):
        await asyncio.sleep(0.01)
    await world.settle(running)
    report = await erasing
    assert (report.verdict, report.under_way) == (ErasureVerdict.ERASED, 0)
    assert await world.content(running) == ""


async def test_deleted_users_are_not_anonymised_afterwards(world: World) -> None:
    """What comes again of the first time would then be stored."""
    await world.fill()
    report = await world.erase("delete")
    assert (report.verdict, left(report)) == (ErasureVerdict.ERASED, {})
    assert set(await world.users()) == {world.bob.user_id}
    with pytest.raises(AlreadyDeleted, match="--mode delete"):
        await world.erase("anonymise")


class _Dying:
    """A process that dies as soon as it has made so many changes."""

    def __init__(self, *, after: int) -> None:
        self.done: list[str] = []
        self._after = after

    def part(self, name: str, part: object) -> object:
        """A part that the process asks and changes."""
        return _Watched(lambda method: self._called(f"{name}.{method}"), part)

    def _called(self, what: str) -> None:
        assert what in CHANGES + QUESTIONS
        if what in CHANGES:
            self.done.append(what)
            if len(self.done) == self._after:
                raise Killed


class _Watched:
    """A part whose every call is told once it is over."""

    def __init__(self, told: Callable[[str], None], part: object) -> None:
        self._told, self._part = told, part

    def __getattr__(self, name: str) -> object:
        call = getattr(self._part, name)

        async def then_tell(*args: object, **kwargs: object) -> object:
            answer = await call(*args, **kwargs)
            self._told(name)
            return answer

        return then_tell

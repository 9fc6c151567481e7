"""Everything that an erasure touches, with two users' requests in it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from redis.asyncio import Redis

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser, UsersRollup
from analytics.rollups.refresh import RollupRefresher
from analytics.sink.batches import OffsetRange, SinkBatch
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from headrace.ops.privacy.eraser import Eraser, ErasureReport
from headrace.ops.privacy.redis_eraser import RedisEraser
from streams.erasure import ErasureFeed, Subject
from streams.events import Erasure, ErasureMode, Payload, Reply, ReplyAddress, RequestLog, Status
from streams.publisher import Publisher
from streams.registry.registry import RequestRegistry
from tests.analytics.logs import NOON, make_log, make_record

TEXT = Payload(request_text="I am Ann", reply_text="Hello Ann")
COST = Decimal("0.000700001")


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


def left(report: ErasureReport) -> dict[str, int]:
    return {place.name: place.left for place in report.places if place.left}

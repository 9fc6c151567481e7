"""Ingest on real Kafka and Redis, with a pipeline of a few lines behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from analytics.reports.catalogue import Catalogue
from ingest.main import create_app
from ingest.services import connected_services
from streams.codec import decode, header
from streams.events import ChatRequested, Delta, ReplyAddress
from streams.kafka.topic_admin import create_topics
from streams.publisher import Emit, Publisher
from streams.redis.connection import connect
from streams.registry.registry import RequestRegistry, SubmissionState, correlation_origin, fingerprint
from streams.settings import Settings
from streams.topics import DELTAS, REPLIES, REQUESTS
from tests.ingest.fakes import KEY, answered, settings
from tests.ingest.sse_reader import events

pytestmark = pytest.mark.integration

PARTITIONS = 4


class EchoPipeline:
    """Guardrail, model and cost in one: it registers, streams two deltas, settles and replies."""

    def __init__(self, publisher: Publisher, registry: RequestRegistry) -> None:
        self._publisher = publisher
        self._registry = registry
        self.runs = 0

    async def answer(self, record: ConsumerRecord) -> None:
        request = decode(record.value, ChatRequested, record.headers)
        address = ReplyAddress(
            topic=REPLIES.name,
            partition=int.from_bytes(header(record.headers, "kafka_replyPartition") or b"", "big"),
            correlation_id=header(record.headers, "kafka_correlationId"),
        )
        request_id, tenant = request.request_id or "", request.tenant or ""
        registration = await self._registry.register(
            request_id,
            tenant=tenant,
            body=fingerprint(request, tenant),
            origin=correlation_origin(address.correlation_id or b""),
            running=True,
            reply_to=address,
        )
        assert registration.state is SubmissionState.SAME, "the guardrail must know what ingest registered"
        self.runs += 1
        content = f"You said {request.query}"
        for seq, text in enumerate(("You", " said") if request.stream else ()):
            delta = Delta(request_id=request_id, attempt=1, seq=seq, text=text)
            await self._publisher.publish(Emit.to(DELTAS, delta, key=request_id, partition=address.partition))
        settled = await self._registry.begin_settle(answered(request_id, content), tenant=tenant)
        for index, waiter in enumerate((address, *settled.waiters)):
            reply = msgspec.structs.replace(settled.reply, repeat=index > 0)
            headers = (("kafka_correlationId", waiter.correlation_id or b""),)
            await self._publisher.publish(
                Emit.to(REPLIES, reply, key=request_id, headers=headers, partition=waiter.partition)
            )
        await self._registry.finish_settle(request_id)


@asynccontextmanager
async def _pipeline(chosen: Settings) -> AsyncIterator[EchoPipeline]:
    redis = connect(chosen.redis_url)
    consumer = AIOKafkaConsumer(
        REQUESTS.name, bootstrap_servers=chosen.kafka_bootstrap, auto_offset_reset="latest"
    )
    await consumer.start()
    for partition in consumer.assignment():
        await consumer.position(partition)

    async with Publisher(chosen.kafka_bootstrap, client_id="echo") as publisher:
        echo = EchoPipeline(publisher, RequestRegistry(redis, ttl_s=60))

        async def run() -> None:
            async for record in consumer:
                await echo.answer(record)

        task = asyncio.create_task(run())
        try:
            yield echo
        finally:
            task.cancel()
            await consumer.stop()
            await redis.aclose()


@asynccontextmanager
async def _replica(chosen: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with connected_services(chosen, Catalogue.load().bind) as services:
        transport = httpx.ASGITransport(create_app(services))
        headers = {"X-API-Key": KEY}
        async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers) as http:
            yield http


@pytest.fixture
async def parts(kafka_bootstrap: str, redis_url: str) -> dict[str, str]:
    """Where Kafka (with the topics) and Redis are."""
    await create_topics(kafka_bootstrap, partitions=PARTITIONS, replication=1)
    return {"kafka_bootstrap": kafka_bootstrap, "redis_url": redis_url}


async def test_each_replica_gets_its_own_replies(parts: dict[str, str]) -> None:
    """Two replicas, many requests: every reply comes to the one that asked."""
    first = settings(**parts, ingest_replica=0, ingest_replicas=2, max_concurrent_requests=50)
    second = settings(**parts, ingest_replica=1, ingest_replicas=2, max_concurrent_requests=50)
    async with _pipeline(first), _replica(first) as one, _replica(second) as two:
        answers = await asyncio.gather(
            *(
                http.post("/v1/chat", json={"user_id": "ada", "query": f"{i}"})
                for i in range(10)
                for http in (one, two)
            )
        )
    assert [answer.json()["response"] for answer in answers] == [
        f"You said {i}" for i in range(10) for _ in range(2)
    ]


async def test_a_stream_and_a_repeat(parts: dict[str, str]) -> None:
    """The stream is whole, and the same key again is answered without the pipeline."""
    chosen = settings(**parts)
    body = {
        "user_id": "ada",
        "query": "hello there",
        "stream": True,
        "temperature": 1,
        "metadata": {"b": 1, "a": [0.5]},
    }
    headers = {"Idempotency-Key": f"live-{id(body)}-{asyncio.get_running_loop().time()}"}
    async with _pipeline(chosen) as echo, _replica(chosen) as http:
        streamed = events((await http.post("/v1/chat", json=body, headers=headers)).text)
        again = await http.post("/v1/chat", json=body | {"stream": False}, headers=headers)
        request_id = again.json()["request_id"]
        fetched = (await http.get(f"/v1/requests/{request_id}")).json()
        followed = events((await http.get(f"/v1/requests/{request_id}/events")).text)
        assert echo.runs == 1
    assert "".join(data["token"] for _, data in streamed[:-1]) == "You said hello there"
    assert (again.json()["response"], again.json()["repeat"]) == ("You said hello there", True)
    assert fetched["content"] == followed[-1][1]["content"] == "You said hello there"


async def test_ready_and_health(parts: dict[str, str]) -> None:
    """Kafka, Redis and the reply loop are up; ClickHouse, which is away here, degrades only."""
    async with _replica(settings(**parts, clickhouse_url="http://127.0.0.1:9")) as http:
        async with asyncio.timeout(20):
            while (await http.get("/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        health = await http.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["checks"]["clickhouse"]["status"] == "down"

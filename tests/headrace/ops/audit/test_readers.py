"""The readers, each on its real part."""

import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from redis.asyncio import Redis

from agents.providers.provider import CALL_ID_HEADER
from agents.stores.journal import Journal
from agents.stores.journal_entries import BegunCall, Charge, Claimed
from analytics.clickhouse import ClickHouse
from headrace.embedded.process import free_port
from headrace.ops.audit.evidence import AuditWindow, ClickHouseEvidence
from headrace.ops.audit.readers import (
    IncrementalReader,
    InvoiceUnavailable,
    add_calls,
    add_requests,
    read_clickhouse,
    read_invoice,
    read_redis,
)
from headrace.ops.topic_reader import TopicReader
from headrace.simulator.app import create_app
from streams.errors import ClickHouseUnavailable, StoreUnavailable
from streams.events import ReplyAddress
from streams.redis.connection import connect
from streams.registry.registry import RequestRegistry
from tests.databases import fresh_database

integration = pytest.mark.integration

#: Lately: Kafka refuses times to come, and retention takes those long past.
AT_MS = int(time.time()) * 1_000 - 600_000
AT = datetime.fromtimestamp(AT_MS / 1000, UTC)

# ── Kafka ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def topic(kafka_bootstrap: str) -> str:
    """A topic of two partitions with ten records each, a second apart; one has lost its first three."""
    name = f"audit-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
        await write(kafka_bootstrap, name, range(10))
        await admin.delete_records({TopicPartition(name, 1): RecordsToDelete(before_offset=3)})
    finally:
        await admin.close()
    return name


async def write(bootstrap: str, topic: str, numbers: range) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in numbers:
            for partition in (0, 1):
                await producer.send_and_wait(
                    topic,
                    b"%d" % number,
                    partition=partition,
                    timestamp_ms=AT_MS + number * 1_000,
                )


@pytest.fixture
async def reader(kafka_bootstrap: str) -> AsyncIterator[IncrementalReader]:
    async with TopicReader(kafka_bootstrap, client_id="test", timeout_s=15) as topics:
        yield IncrementalReader(topics)


class Taken:
    """What a read has brought."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int]] = []

    def __call__(self, record: ConsumerRecord[bytes, bytes]) -> None:
        self.records.append((record.partition, int(record.value or b"")))

    def of(self, partition: int) -> list[int]:
        return [number for where, number in self.records if where == partition]


@integration
async def test_a_topic_is_read_from_a_time_to_its_end_and_then_on(
    reader: IncrementalReader,
    topic: str,
    kafka_bootstrap: str,
) -> None:
    """The second read brings what has come since the first, and nothing twice."""
    taken = Taken()
    await reader.read([topic], taken, since_ms=AT_MS + 6_000)
    assert (taken.of(0), taken.of(1)) == ([6, 7, 8, 9], [6, 7, 8, 9])
    await reader.read([topic], taken, since_ms=AT_MS + 6_000)
    assert len(taken.records) == 8
    await write(kafka_bootstrap, topic, range(10, 11))
    await reader.read([topic], taken, since_ms=AT_MS + 6_000)
    assert taken.of(0) == [6, 7, 8, 9, 10]


@integration
async def test_a_topic_is_read_up_to_a_time(reader: IncrementalReader, topic: str) -> None:
    """What was written at it, or later, is left."""
    taken = Taken()
    await reader.read([topic], taken, since_ms=AT_MS + 4_000, until_ms=AT_MS + 6_000)
    assert (taken.of(0), taken.of(1)) == ([4, 5], [4, 5])


@integration
async def test_what_retention_has_taken_is_noticed(reader: IncrementalReader, topic: str) -> None:
    """A partition whose log begins after the time asked for may have lost records of it."""
    taken = Taken()
    await reader.read([topic], taken, since_ms=AT_MS)
    assert taken.of(1) == [3, 4, 5, 6, 7, 8, 9]
    assert reader.reads[topic].truncated_ms == AT_MS + 3_000


@integration
async def test_a_topic_that_does_not_exist_is_passed_over(reader: IncrementalReader) -> None:
    """Somebody may have named it, or deleted it."""
    await reader.read(["no-such-topic"], Taken(), since_ms=0)
    assert reader.reads["no-such-topic"].gone


# ── ClickHouse ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    """A connection to a fresh database with the schema."""
    async with fresh_database(clickhouse_url, "audit") as (_, connection):
        yield connection


async def insert(
    connection: ClickHouse,
    request_id: str,
    at: datetime,
    *,
    usd: str = "0.123456789",
    tenant: str = "t",
) -> None:
    given = {"id": request_id, "tenant": tenant, "usd": usd, "at": f"{at:%Y-%m-%d %H:%M:%S.%f}"}
    await connection.execute(
        "INSERT INTO requests_raw (request_id, tenant, status, cost_usd, accepted_at) "
        "VALUES ({id:String}, {tenant:String}, 'answered', {usd:Decimal(18, 9)}, {at:DateTime64(6)})",
        given,
    )
    await connection.execute(
        "INSERT INTO llm_calls_raw (request_id, call_id, tenant, cost_usd, error, accepted_at, orphaned) "
        "VALUES ({id:String}, concat('call-', {id:String}), {tenant:String}, {usd:Decimal(18, 9)}, "
        "'timeout', {at:DateTime64(6)}, true)",
        given,
    )


@integration
async def test_rows_and_calls_of_a_window_are_read_exactly(clickhouse: ClickHouse) -> None:
    """To the nano-dollar; a row of another tenant with the same id is one too many."""
    await insert(clickhouse, "inside", AT)
    await insert(clickhouse, "two", AT)
    await insert(clickhouse, "two", AT, tenant="other")
    await insert(clickhouse, "after", AT + timedelta(minutes=5))
    evidence = await read_clickhouse(clickhouse, AuditWindow(since_ms=AT_MS, until_ms=AT_MS + 60_000))
    assert {each: row.rows for each, row in evidence.rows.items()} == {"inside": 1, "two": 2}
    row, call = evidence.rows["inside"], evidence.calls["call-inside"]
    assert (row.cost_nano, row.accepted_at_ms, row.status) == (123_456_789, AT_MS, "answered")
    assert (call.request_id, call.cost_nano, call.error) == ("inside", 123_456_789, "timeout")
    assert (call.orphaned, call.shadow, call.finish_reason) == (True, False, "")
    assert evidence.doubled == {"call-two"}


@integration
@pytest.mark.parametrize("request_id", ["early", "it's", "back\\slash", "') OR 1=1 --", "%(ids)s {a:String}"])
async def test_what_is_outside_the_window_is_found_by_its_id(clickhouse: ClickHouse, request_id: str) -> None:
    """Whatever the id looks like: anybody may have chosen it."""
    await insert(clickhouse, request_id, AT - timedelta(days=1))
    await insert(clickhouse, "other", AT - timedelta(days=1))
    evidence = ClickHouseEvidence()
    unknown = (f"unknown-{number}-{'x' * 110}" for number in range(600))
    await add_requests(clickhouse, evidence, [request_id, *unknown])
    assert list(evidence.rows) == [request_id]
    assert list(evidence.calls) == [f"call-{request_id}"]
    assert not evidence.doubled
    later = ClickHouseEvidence()
    await add_calls(clickhouse, later, [f"call-{request_id}"], since_ms=AT_MS)
    assert not later.calls
    await add_calls(clickhouse, later, [f"call-{request_id}"], since_ms=AT_MS - 2 * 86_400_000)
    assert list(later.calls) == [f"call-{request_id}"]


async def test_a_server_that_is_away_is_named_without_its_password() -> None:
    """Messages end up in tickets."""
    port = free_port()
    clickhouse = ClickHouse(f"http://user:secret@127.0.0.1:{port}", database="x", timeout_s=2)
    with pytest.raises(ClickHouseUnavailable) as caught:
        await read_clickhouse(clickhouse, AuditWindow(since_ms=AT_MS))
    await clickhouse.close()
    assert str(port) in str(caught.value)
    assert "secret" not in str(caught.value)


# ── Redis ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@integration
async def test_known_requests_and_open_calls_are_read_as_they_are_written(redis: Redis) -> None:
    """By the registry and the journal themselves; a request that Redis does not know is left out."""
    running, begun = f"r-{uuid.uuid4().hex}", f"b-{uuid.uuid4().hex}"
    registry, journal = RequestRegistry(redis, ttl_s=60), Journal(redis, ttl_s=60)
    for request_id in (running, begun):
        await registry.register(
            request_id,
            tenant="t",
            body="b",
            origin="o",
            running=True,
            reply_to=ReplyAddress(topic="llm.replies.v1"),
        )
    claim = await journal.claim(
        begun,
        record="llm.misses.v1:0:1",
        instance="i",
        deadline_at=AT,
        now=AT - timedelta(minutes=1),
    )
    assert isinstance(claim, Claimed)
    call = BegunCall(
        call_id="call",
        provider="openai",
        model="gpt-4o",
        started_at=AT,
        input_tokens=1,
        input_charge=Charge(cost_usd=Decimal("0.0000025"), price_version="v", long_context=False),
    )
    await journal.begin_call(claim.lease, call)
    unknown = [f"unknown-{number}" for number in range(600)]
    evidence = await read_redis(redis, [*unknown, running, begun])
    assert evidence.known == 2
    assert evidence.open_calls == {"call"}


async def test_a_redis_that_is_away_is_a_fault_even_where_nothing_is_asked() -> None:
    """Otherwise an audit would say that it had read it."""
    client = connect(f"redis://127.0.0.1:{free_port()}", timeout_s=1)
    with pytest.raises(StoreUnavailable):
        await read_redis(client, [])
    await client.aclose()


# ── the simulator ─────────────────────────────────────────────────────────────────────────────────


def simulator() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app()), base_url="http://simulator")


async def ask(client: httpx.AsyncClient, call_id: str | None) -> None:
    headers = {"Authorization": "Bearer sk-test"} | ({CALL_ID_HEADER: call_id} if call_id else {})
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    response = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text


async def test_the_invoice_is_read_by_our_call_ids() -> None:
    """What was billed twice under one id is noticed; what has none is not ours."""
    async with simulator() as client:
        for call_id in ("once", "twice", "twice", None):
            await ask(client, call_id)
        evidence = await read_invoice(client, "http://simulator", since_ms=0)
        later = await read_invoice(client, "http://simulator", since_ms=4_000_000_000_000)
    assert {each: item.times for each, item in evidence.items.items()} == {"once": 1, "twice": 2}
    assert evidence.items["once"].cost_nano > 0
    assert (evidence.items["once"].input_tokens > 0, evidence.items["once"].output_tokens > 0) == (True, True)
    assert evidence.complete
    assert not later.items


@pytest.mark.parametrize("path", ["", "/v1"])
async def test_what_is_no_simulator_is_refused(path: str) -> None:
    """A wrong address must not pass for an empty invoice."""
    if path:
        async with simulator() as client:
            with pytest.raises(InvoiceUnavailable):
                await read_invoice(client, f"http://simulator{path}", since_ms=0)
        return
    async with httpx.AsyncClient(timeout=2) as client:
        with pytest.raises(InvoiceUnavailable):
            await read_invoice(client, f"http://127.0.0.1:{free_port()}", since_ms=0)

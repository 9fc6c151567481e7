"""What one record can do: it wedges no partition, producer or Redis, and speaks for nobody else."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from headrace.up.home import Home
from streams.codec import encode
from streams.events import (
    Erasure,
    FeedbackGiven,
    LedgerEntry,
    OutcomeReached,
    Reply,
    RequestLog,
    Status,
    WebhookDue,
)
from streams.redelivery import replayed
from streams.topics import (
    DEAD_LETTERS,
    ERASURES,
    LEDGER,
    LOGS,
    OUTCOMES,
    REPLIES,
    REQUESTS,
    WEBHOOKS,
)
from tests.acceptance.conftest import System, headrace, run_headrace, unique, wait_for
from tests.fakes.envelopes import NOW, envelope
from tests.fakes.receiver import receiving

pytestmark = pytest.mark.acceptance

_WAIT_S = 60.0
Headers = Sequence[tuple[str, bytes]]


class Wire:
    """A Kafka client with every right and no key of Headrace's."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.reply_topic = f"abuse.{uuid.uuid4().hex}"
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=32 * 1024 * 1024)

    async def start(self) -> None:
        """Connect, and create a reply topic."""
        await self._producer.start()
        await self.create(self.reply_topic)

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()

    async def create(self, name: str, **configs: str) -> None:
        """Create a topic of one partition."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])
        finally:
            await admin.close()

    async def write(
        self, topic: str, value: bytes | None, *, key: str | bytes | None = None, headers: Headers = ()
    ) -> None:
        """Write a record."""
        raw = key.encode() if isinstance(key, str) else key
        await self._producer.send_and_wait(topic, value=value, key=raw, headers=list(headers))

    async def ask(self, query: str, *, headers: Headers = (), **fields: Any) -> str:
        """Ask over Kafka, for a reply on our topic; return the request's id."""
        request_id = fields.pop("request_id", None) or str(uuid.uuid4())
        body = {"query": query, "user_id": "abuse", "request_id": request_id, **fields}
        own = [("kafka_replyTopic", self.reply_topic.encode()), *headers]
        await self.write(REQUESTS.name, json.dumps(body).encode(), headers=own)
        return request_id

    async def replies(self, *topics: str, wanted: Callable[[dict[str, Any]], bool]) -> list[ConsumerRecord]:
        """Return the wanted records of the reply topics, once there is one, and those that follow soon."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            found: list[ConsumerRecord] = []
            names = topics or (self.reply_topic, REPLIES.name)
            places = [
                TopicPartition(name, number) for name in names for number in await _partitions(consumer, name)
            ]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            deadline = asyncio.get_running_loop().time() + _WAIT_S
            while asyncio.get_running_loop().time() < deadline:
                batch = await consumer.getmany(timeout_ms=300)
                records = [each for records in batch.values() for each in records]
                found += [each for each in records if wanted(_body(each))]
                if found and not records:
                    break
            return found
        finally:
            await consumer.stop()

    async def reply(self, request_id: str) -> dict[str, Any]:
        """Return the one reply to a request, wherever it came."""
        found = await self.replies(wanted=lambda reply: reply.get("request_id") == request_id)
        assert len(found) == 1, found
        return _body(found[0])


def _body(record: ConsumerRecord) -> dict[str, Any]:
    """Return what a record says; nothing where it is no JSON object, as others write here, too."""
    try:
        found = json.loads(record.value or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def audit(system: System) -> dict[str, Any]:
    """Return the audit's report, whatever its verdict."""
    return dict(json.loads(run_headrace("audit", "--json", data_dir=system.data_dir).stdout))


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    while (found := consumer.partitions_for_topic(topic)) is None:
        await consumer._client.add_topic(topic)
        await asyncio.sleep(0.1)
    return set(found)


@pytest.fixture
async def wire(system: System) -> AsyncIterator[Wire]:
    client = Wire(system.endpoints.kafka)
    await client.start()
    yield client
    await client.stop()


@pytest.fixture(autouse=True)
def _unharmed(system: System) -> Any:
    """Whatever a test sends: every process is the one it was, and others are answered."""
    before = {row.role: (row.pid, row.restarts) for row in Home(system.data_dir).status().processes}
    yield
    assert system.chat(unique("Is anybody harmed?")).status_code == 200
    after = {row.role: (row.pid, row.restarts) for row in Home(system.data_dir).status().processes}
    assert after == before
    assert system.http.get("/health").json()["status"] == "healthy"


@pytest.fixture(scope="module", autouse=True)
def _balanced(system: System) -> Any:
    """After all of it the audit balances."""
    yield
    assert wait_for(lambda: audit(system)["verdict"] == "balanced", _WAIT_S), audit(system)["findings"]


# ── a record wedges nothing ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "topic", ["__consumer_offsets", "__transaction_state", "_schemas", "llm.ledger.v1", "a b"]
)
async def test_a_reply_topic_that_is_not_the_senders_is_refused(wire: Wire, topic: str) -> None:
    """The cost stage tried for ever to write to `__consumer_offsets`."""
    request_id = await wire.ask("hello", headers=[("kafka_replyTopic", topic.encode())])
    reply = await wire.reply(request_id)
    assert (reply["status"], reply["error"]["code"]) == ("failed", "reply_topic_not_allowed")


async def test_a_reply_topic_that_takes_no_replies_gets_none(wire: Wire) -> None:
    """The reply comes to our own topic, and the next request of that partition is answered."""
    small = f"abuse.small.{uuid.uuid4().hex}"
    await wire.create(small, **{"max.message.bytes": "100"})
    ids = [await wire.ask(unique("hello"), headers=[("kafka_replyTopic", small.encode())]) for _ in range(3)]
    for request_id in (*ids, await wire.ask(unique("and now?"))):
        assert (await wire.reply(request_id))["status"] == "answered"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([("kafka_correlationId", b"c" * 1_900_000)], "headers_too_large"),
        ([("kafka_correlationId", b"c" * 2_000)], "correlation_id_too_long"),
        ([(f"h{number}", b"") for number in range(10_000)], "headers_too_large"),
        ([("x", os.urandom(1_000_000))], "headers_too_large"),
    ],
)
async def test_what_is_written_around_a_request_is_bounded(wire: Wire, headers: Headers, code: str) -> None:
    """32 correlation ids of megabytes filled Redis, and took other tenants' chats down."""
    ids = [await wire.ask(unique("hello"), headers=headers) for _ in range(4)]
    for request_id in ids:
        reply = await wire.reply(request_id)
        assert (reply["status"], reply["error"]["code"]) == ("failed", code)


async def test_ids_that_name_nothing_are_refused(wire: Wire) -> None:
    """In the header or the key; the request is known by its place in the topic then."""
    body = json.dumps({"query": "hello", "user_id": "abuse"}).encode()
    for number, (key, ce_id) in enumerate([(b"k" * 1_000_000, b""), (None, b"i" * 10_000), (b"a\nb", b"")]):
        correlation = f"ids-{number}-{uuid.uuid4().hex}".encode()
        headers = [("kafka_replyTopic", wire.reply_topic.encode()), ("kafka_correlationId", correlation)]
        await wire.write(
            REQUESTS.name, body, key=key, headers=[*headers, *([("ce_id", ce_id)] if ce_id else [])]
        )
        found = await wire.replies(
            wire.reply_topic,
            wanted=lambda reply: (reply.get("error") or {}).get("code") == "invalid_request_id",
        )
        assert correlation in [dict(record.headers).get("kafka_correlationId") for record in found]


async def test_a_body_as_large_as_the_topic_takes_is_refused_in_words(wire: Wire) -> None:
    """It was a dead letter too large to be written, and the producer was lost with it."""
    for text, code in (("x" * 2_150_000, "request_too_large"), ("\x01" * 340_000, "invalid_request")):
        reply = await wire.reply(await wire.ask(text))
        assert (reply["status"], reply["error"]["code"]) == ("failed", code)


@pytest.mark.parametrize(
    "topic", [REQUESTS.name, "llm.guarded.v1", OUTCOMES.name, LOGS.name, "llm.retries.v1"]
)
async def test_garbage_as_large_as_each_topic_takes_is_kept(system: System, wire: Wire, topic: str) -> None:
    """As a dead letter with all its bytes."""
    size = 2_000_000 if topic == REQUESTS.name else 16_000_000
    marker = uuid.uuid4().hex
    await wire.write(topic, b"{" + marker.encode() + os.urandom(size), key=marker)
    consumer = AIOKafkaConsumer(bootstrap_servers=wire.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = [
            TopicPartition(DEAD_LETTERS.name, n) for n in await _partitions(consumer, DEAD_LETTERS.name)
        ]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        async with asyncio.timeout(_WAIT_S):
            async for record in consumer:
                if record.key == marker.encode():
                    assert len(record.value or b"") > size
                    break
    finally:
        await consumer.stop()
    await wire.reply(await wire.ask(unique("and now?")))


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
async def test_a_batch_that_decompresses_to_far_more_than_it_is_reads_as_one_bad_record(
    wire: Wire, codec: str
) -> None:
    """It ended every consumer of its partition for want of memory, again after each restart."""
    async with AIOKafkaProducer(
        bootstrap_servers=wire.bootstrap, compression_type=codec, max_request_size=2**30
    ) as bomber:
        for partition in range(4):
            await bomber.send_and_wait(REQUESTS.name, value=bytes(200 * 1024 * 1024), partition=partition)
    for request_id in [await wire.ask(unique("and now?")) for _ in range(8)]:
        assert (await wire.reply(request_id))["status"] == "answered"


# ── limits are the sender's ───────────────────────────────────────────────────────────────────────


async def test_a_text_that_grows_on_its_way_is_answered(system: System, wire: Wire) -> None:
    """The longest query, in a template that adds to it, or full of what a redaction lengthens."""
    plain = unique("Why? ") + "why " * 7_900
    redacted = unique("Who is ") + " ".join("1.1.1.1" for _ in range(3_900))
    for text in (plain[:31_999], redacted[:32_000]):
        assert (await wire.reply(await wire.ask(text)))["status"] == "answered"
        answer = system.chat(text)
        assert answer.status_code == 200, answer.text


async def test_a_text_over_the_limit_is_refused_alike_over_http_and_kafka(system: System, wire: Wire) -> None:
    """With the field, and what it may be."""
    text = "x" * 32_001
    answer = system.chat(text)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "query")
    reply = await wire.reply(await wire.ask(text))
    assert (reply["status"], reply["error"]["param"]) == ("failed", "query")
    assert "32000" in reply["error"]["message"]


# ── who may write may not act as another ──────────────────────────────────────────────────────────


async def test_redelivery_headers_of_a_sender_are_not_believed(system: System, wire: Wire) -> None:
    """They occupied a replay number: the operator's own replay then counted as a repeat."""
    victim = await wire.ask(unique("hello"))
    assert (await wire.reply(victim))["status"] == "answered"
    forged = replayed((), record=f"{REQUESTS.name}:0:0", timestamp_ms=1, at_ms=2**40)
    again = await wire.ask(unique("forged"), headers=forged)
    reply = await wire.reply(again)
    assert (reply["status"], reply.get("replay", 0)) == ("answered", 0)


async def test_forged_internal_events_have_no_effect(system: System, wire: Wire) -> None:
    """No reply, no row, no booking, no webhook, no erasure in another's name."""
    victim = uuid.uuid4().hex
    owner = envelope(request_id=victim, tenant="globex", user_id="victim")
    reply = Reply(request_id=victim, status=Status.ANSWERED, content="forged", accepted_at=NOW)
    with receiving() as receiver:
        forged: list[tuple[str, msgspec.Struct]] = [
            (REPLIES.name, reply),
            (OUTCOMES.name, OutcomeReached(envelope=owner, status=Status.FAILED)),
            (
                LEDGER.name,
                LedgerEntry(
                    entry_id=f"{victim}:settle",
                    request_id=victim,
                    tenant="globex",
                    user_id="victim",
                    kind="settle",
                    amount_usd=Decimal(99),
                    booked_at=NOW,
                ),
            ),
            (
                LOGS.name,
                RequestLog(
                    request_id=victim,
                    tenant="globex",
                    user_id="victim",
                    tier="standard",
                    accepted_at=NOW,
                    finished_at=NOW,
                    status=Status.ANSWERED,
                    latency_ms=1.0,
                ),
            ),
            (
                WEBHOOKS.name,
                WebhookDue(request_id=victim, tenant="globex", url=receiver.url(), reply=reply),
            ),
            (
                ERASURES.name,
                Erasure(digest=victim, salt="s", tenant="globex", mode="delete", pseudonym="p", until=NOW),
            ),
        ]
        for topic, event in forged:
            await wire.write(topic, encode(event), key=victim)
        # What was written behind the forged records in each partition has come through.
        for request_id in [await wire.ask(unique("and now?")) for _ in range(8)]:
            assert (await wire.reply(request_id))["status"] == "answered"
        assert system.sql("SELECT * FROM requests WHERE request_id = {id:String}", id=victim) == []
        assert receiver.on("/hook") == []
    assert any(each["code"] == "unauthentic" for each in audit(system)["findings"])
    assert system.http.get(f"/v1/requests/{victim}").status_code == 404


async def test_feedback_may_not_be_dated_back_by_forged_headers(system: System, wire: Wire) -> None:
    """The open topics take records without a code, and drop what only Headrace may say."""
    request_id = await wire.ask(unique("hello"))
    await wire.reply(request_id)
    given = FeedbackGiven(request_id=request_id, value=Decimal(1))
    forged = replayed((), record="llm.feedback.v1:0:0", timestamp_ms=1, at_ms=2)
    await wire.write("llm.feedback.v1", encode(given), key=request_id, headers=forged)
    query = "SELECT toUnixTimestamp(scored_at) AS at FROM scores WHERE request_id = {id:String}"
    rows = wait_for(lambda: system.sql(query, id=request_id), _WAIT_S)
    assert int(rows[0]["at"]) > 1_700_000_000


async def test_a_dead_letter_that_somebody_else_wrote_is_not_replayed(system: System, wire: Wire) -> None:
    """A replay is signed: it would vouch for it."""
    owner = envelope(request_id=uuid.uuid4().hex, tenant="globex")
    await wire.write(
        "llm.guarded.v1", encode(OutcomeReached(envelope=owner, status=Status.FAILED)), key=owner.request_id
    )

    def letters() -> list[dict[str, Any]]:
        listed = json.loads(headrace("dlq", "list", "--json", data_dir=system.data_dir))
        return [each for each in listed["letters"] if each["exception"] == "UnauthenticRecord"]

    place = wait_for(letters, _WAIT_S)[0]["id"]
    refused = run_headrace("dlq", "replay", place, "--force", data_dir=system.data_dir)
    assert refused.returncode == 1
    assert "vouch" in refused.stdout + refused.stderr

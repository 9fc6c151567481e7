"""A user's requests on Kafka: found, and told how long they stay."""

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from headrace.ops.privacy.eraser import requests_of, retained_topics
from headrace.ops.topic_reader import TopicReader
from streams.erasure import Subject
from streams.pipeline import PERSONAL_TOPICS, TOPICS
from streams.topics import REQUESTS

NOW_MS = int(time.time() * 1000)
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)


@pytest.fixture
async def reader(kafka_bootstrap: str) -> AsyncIterator[TopicReader]:
    async with TopicReader(kafka_bootstrap, client_id="test", timeout_s=15) as reader:
        yield reader


async def write(bootstrap: str, *bodies: dict[str, Any] | bytes, at_ms: int = NOW_MS) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for body in bodies:
            value = body if isinstance(body, bytes) else json.dumps(body).encode()
            await producer.send_and_wait(REQUESTS.name, value=value, timestamp_ms=at_ms)


@pytest.mark.integration
async def test_the_user_s_requests_are_found(kafka_bootstrap: str, reader: TopicReader) -> None:
    """However the id is written in JSON; nobody else's, and no broken record."""
    user, run = f"Zoë-{uuid4().hex}", uuid4().hex
    of_ann = {"query": "q", "user_id": user, "tenant": "acme"}
    await write(
        kafka_bootstrap,
        of_ann | {"request_id": f"{run}-1"},
        json.dumps(of_ann | {"request_id": f"{run}-2"}, ensure_ascii=False).encode(),
        of_ann | {"request_id": f"{run}-other-tenant", "tenant": "globex"},
        of_ann | {"request_id": f"{run}-other-user", "user_id": "bob"},
        of_ann | {"request_id": f"{run}-broken", "temperature": "hot"},
        b"{not json",
        b'{"user_id": 7}',
    )
    later = datetime.fromtimestamp(NOW_MS / 1000 + 60, UTC).isoformat()
    await write(kafka_bootstrap, of_ann | {"request_id": f"{run}-ahead", "accepted_at": later})
    found = await requests_of(reader, Subject("acme", user), since_ms=NOW_MS - 1_000, until=NOW)
    assert found == {
        f"{run}-1",
        f"{run}-2",
        f"{run}-ahead",
    }  # nobody can have accepted it after it was written


@pytest.mark.integration
async def test_a_sender_whose_clock_is_ahead_ends_no_search(
    kafka_bootstrap: str, reader: TopicReader
) -> None:
    """What it wrote is not covered yet; what was written behind it is found."""
    user, run = uuid4().hex, uuid4().hex
    body = {"query": "q", "user_id": user, "tenant": "acme"}
    await write(kafka_bootstrap, body | {"request_id": f"{run}-ahead"}, at_ms=NOW_MS + 30_000)
    for number in range(8):  # some on the same partition
        await write(kafka_bootstrap, body | {"request_id": f"{run}-{number}"})
    found = await requests_of(reader, Subject("acme", user), since_ms=NOW_MS, until=NOW)
    assert found == {f"{run}-{number}" for number in range(8)}


@pytest.mark.integration
async def test_a_record_that_says_that_it_is_older_is_found(
    kafka_bootstrap: str, reader: TopicReader
) -> None:
    """Its sender sets its time; it lies behind everything that was there before."""
    user, run = uuid4().hex, uuid4().hex
    await write(
        kafka_bootstrap, {"user_id": user, "query": "q", "tenant": "acme", "request_id": run}, at_ms=1
    )
    found = await requests_of(reader, Subject("acme", user), since_ms=NOW_MS + 60_000, until=NOW)
    assert found == {run}


@pytest.mark.integration
async def test_a_request_without_a_tenant_is_the_default_one_s(
    kafka_bootstrap: str, reader: TopicReader
) -> None:
    """As the pipeline has it; and one without an id is known by its place."""
    user = uuid4().hex
    await write(kafka_bootstrap, {"query": "q", "user_id": user})
    (found,) = await requests_of(reader, Subject("default", user), since_ms=NOW_MS, until=NOW)
    assert found.startswith(f"{REQUESTS.name}-")


def test_every_topic_that_names_users_is_told_of() -> None:
    """A new topic has to be thought about here."""
    named = {topic.name for topic in PERSONAL_TOPICS}
    assert {topic.name for topic in TOPICS.values()} - named == {
        "llm.dead-letter-actions.v1",
        "llm.alerts.v1",
        "llm.erasures.v1",
        "llm.control.v1",  # keys of users: docs/control.md says that they stay
    }


def test_what_stays_is_told_with_its_end() -> None:
    """By the retention of each topic."""
    at = datetime(2026, 11, 21, tzinfo=UTC)
    until = {each.topic: each.until for each in retained_topics(at)}
    assert until["llm.deltas.v1"] == at + timedelta(days=1)
    assert until["llm.logs.v1"] == at + timedelta(days=30)

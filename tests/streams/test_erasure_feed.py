"""The list as the topic has it, on a real broker."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from streams.erasure import PARTITION, ErasureFeed, Subject, erasure_emit
from streams.errors import KafkaUnavailable
from streams.events import Erasure
from streams.kafka.record_auth import RecordAuth
from streams.publisher import Emit, Publisher
from streams.topics import ERASURES

integration = pytest.mark.integration

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
async def publisher(kafka_bootstrap: str) -> AsyncIterator[Publisher]:
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        yield publisher


@pytest.fixture
async def feed(kafka_bootstrap: str) -> AsyncIterator[ErasureFeed]:
    async with aclosing(ErasureFeed(kafka_bootstrap, client_id="test", timeout_s=15)) as feed:
        yield feed


def somebody() -> Subject:
    return Subject("acme", uuid4().hex)


async def order(feed: ErasureFeed, publisher: Publisher, subject: Subject, until: datetime = NOW) -> Erasure:
    erasure = (await feed.current()).ordered(subject, mode="anonymise", until=until)
    await publisher.publish(erasure_emit(erasure))
    return erasure


@integration
async def test_what_was_acknowledged_is_on_the_list_at_once(
    kafka_bootstrap: str, feed: ErasureFeed, publisher: Publisher
) -> None:
    """In every process: the erasure goes on to the rows relying on it."""
    async with aclosing(ErasureFeed(kafka_bootstrap, client_id="other", timeout_s=15)) as other:
        for _ in range(5):
            subject = somebody()
            erasure = await order(feed, publisher, subject)
            assert (await other.current()).find(subject) == erasure


@integration
async def test_an_order_that_headrace_did_not_write_counts_for_nothing(
    kafka_bootstrap: str, feed: ErasureFeed, publisher: Publisher
) -> None:
    """Whoever may write to the topic could hide anybody's rows otherwise."""
    auth = RecordAuth([b"k" * 32])
    async with (
        aclosing(ErasureFeed(kafka_bootstrap, client_id="checks", timeout_s=15, auth=auth)) as checks,
        Publisher(kafka_bootstrap, client_id="signs", auth=auth) as signs,
    ):
        forged, ordered = somebody(), somebody()
        await order(feed, publisher, forged)
        erasure = await order(checks, signs, ordered)
        assert (await checks.current()).find(ordered) == erasure
        assert (await checks.current()).find(forged) is None


@integration
async def test_nothing_new_is_the_same_list(feed: ErasureFeed, publisher: Publisher) -> None:
    """Asking costs one question to the broker."""
    await order(feed, publisher, somebody())
    first = await feed.current()
    assert await feed.current() is first


@integration
async def test_the_list_survives_who_read_it(
    kafka_bootstrap: str, feed: ErasureFeed, publisher: Publisher
) -> None:
    """A process that starts knows of all of them, the last word on each."""
    subject = somebody()
    await order(feed, publisher, subject)
    latest = await order(feed, publisher, subject, NOW + timedelta(hours=1))
    async with aclosing(ErasureFeed(kafka_bootstrap, client_id="late", timeout_s=15)) as late:
        assert (await late.current()).find(subject) == latest


@integration
async def test_a_record_that_is_none_is_left_out(feed: ErasureFeed, publisher: Publisher) -> None:
    """Everybody else on the list stays protected."""
    await publisher.publish(Emit(topic=ERASURES.name, key=b"k", value=b"{}", partition=PARTITION))
    subject = somebody()
    erasure = await order(feed, publisher, subject)
    assert (await feed.current()).find(subject) == erasure


@integration
async def test_a_tombstone_takes_a_user_off(feed: ErasureFeed, publisher: Publisher) -> None:
    """By hand, for a user who was put on it by mistake."""
    subject = somebody()
    erasure = await order(feed, publisher, subject)
    assert (await feed.current()).find(subject) is not None
    await publisher.publish(Emit(topic=ERASURES.name, key=erasure.digest, value=None, partition=PARTITION))
    assert (await feed.current()).find(subject) is None


async def test_without_a_broker_nobody_is_told_that_the_list_is_empty() -> None:
    """Who asks has to wait: storing without the list would let erased users in."""
    async with aclosing(ErasureFeed("127.0.0.1:1", client_id="test", timeout_s=0.5)) as feed:
        with pytest.raises(KafkaUnavailable, match=r"cannot read llm.erasures.v1: Kafka at 127.0.0.1:1"):
            await feed.current()

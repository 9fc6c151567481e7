"""Beginning and ending a Kafka client: it always ends in time, and says why it did not end well."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from streams.kafka.clients import start_client, stop_client


async def cancelled() -> None:
    """What aiokafka does where no broker answers: an inner task's cancellation comes out of `stop`."""
    raise asyncio.CancelledError


async def faulty() -> None:
    raise KafkaError("the coordinator is gone")


async def in_order() -> None:
    return


async def never() -> None:
    await asyncio.Event().wait()


class Client(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka is untyped
    """A consumer that is never connected, and whose end is as the test says."""

    def __init__(self, ends: Callable[[], Awaitable[None]]) -> None:
        self._ends = ends
        self._closed = True  # else it complains, when it is collected, that nobody has stopped it

    async def stop(self) -> None:
        await self._ends()


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        (in_order, None),
        (cancelled, "no broker answered"),
        (faulty, "KafkaError('the coordinator is gone')"),
        (never, "it did not stop within 0.01 s"),
    ],
)
async def test_it_says_why_a_client_did_not_end_well(
    ends: Callable[[], Awaitable[None]], reason: str | None
) -> None:
    """Nothing is raised, not even the cancellation that aiokafka lets escape."""
    assert await stop_client(Client(ends), timeout_s=0.01) == reason


async def test_what_is_given_up_is_cancelled() -> None:
    """It does not go on in the background, and a fault of its end is nobody's surprise."""
    ended = asyncio.Event()

    async def stubborn() -> None:
        try:
            await never()
        finally:
            ended.set()
            raise KafkaError("too late")

    assert await stop_client(Client(stubborn), timeout_s=0.01) is not None
    async with asyncio.timeout(5):
        await ended.wait()


async def test_our_own_cancellation_is_still_ours() -> None:
    """Whoever waits for the end can be cancelled as ever."""
    waiting = asyncio.create_task(stop_client(Client(never), timeout_s=60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.integration
async def test_every_kind_of_client_is_stopped(kafka_bootstrap: str) -> None:
    """A consumer, a producer and an admin client, each connected to a real broker, and one that never was."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    for client in (consumer, producer, admin):
        await client.start()
        assert await stop_client(client, timeout_s=15) is None
    assert await stop_client(AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap), timeout_s=15) is None


@pytest.mark.integration
async def test_who_is_cancelled_while_it_connects_leaves_no_connection(kafka_bootstrap: str) -> None:
    """At whatever moment, and however often: what is left open is a warning, and a failure here."""
    for turns in range(1, 60, 4):
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap)
        starting = asyncio.ensure_future(start_client(consumer, timeout_s=30))
        for _ in range(turns):
            await asyncio.sleep(0)
        while not starting.done():
            starting.cancel()
            await asyncio.wait((starting,), timeout=1)
        if not starting.cancelled():  # it was quicker
            assert await stop_client(consumer, timeout_s=30) is None
        del consumer, starting
    gc.collect()


def test_a_write_to_a_closed_connection_is_a_kafka_error(kafka_bootstrap: str) -> None:
    """On uvloop it is a RuntimeError at first, by which a commit or a fetch would end the worker."""

    async def write() -> None:
        host, port = kafka_bootstrap.split(":")
        connection = await create_conn(host, int(port))
        connection._writer.transport.abort()  # as when the broker closes it
        await asyncio.sleep(0)  # the socket is closed, and the connection has not been told yet
        with pytest.raises(KafkaConnectionError, match=r"is broken: .*handler is closed"):
            await connection.send(MetadataRequest([]))
        assert not connection.connected()

    uvloop.run(write())

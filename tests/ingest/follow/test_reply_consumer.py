"""Which partitions a replica reads, and what it does with their records."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from ingest.follow.reply_consumer import ReplyConsumer, dispatch, own_partitions
from ingest.follow.reply_hub import ReplyHub
from streams import tasks
from streams.backoff import Backoff
from streams.codec import encode
from streams.errors import ConfigurationError
from streams.events import Delta, Event
from streams.kafka import groupless_consumer
from streams.kafka.groupless_consumer import GrouplessConsumer
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from tests.ingest.fakes import answered


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_every_partition_has_one_reader(replicas: int) -> None:
    """None is left out, none is read twice."""
    owned = [own_partitions(7, replica=replica, replicas=replicas) for replica in range(replicas)]
    assert sorted(partition for own in owned for partition in own) == list(range(7))


def test_more_replicas_than_partitions() -> None:
    """The message names what to change."""
    with pytest.raises(ConfigurationError, match="HEADRACE_INGEST_REPLICAS"):
        own_partitions(2, replica=2, replicas=3)


def _record(topic: str, value: Event | bytes | None, correlation_id: bytes | None = None) -> ConsumerRecord:
    data = encode(value) if isinstance(value, Event) else value
    headers = (("kafka_correlationId", correlation_id),) if correlation_id else ()
    return ConsumerRecord(topic, 0, 0, 0, 0, b"r-1", data, 0, 0, len(data or b""), headers)


def test_replies_and_deltas_reach_the_hub() -> None:
    """Each by its own id."""
    hub = ReplyHub(max_listeners=1)
    with hub.listen("r-1", correlation_id=b"1") as listener:
        dispatch(
            _record("llm.deltas.v1", Delta(request_id="r-1", attempt=1, seq=0, text="Par")), hub, UNSIGNED
        )
        assert listener.answer.so_far.text == "Par"
        dispatch(_record("llm.replies.v1", answered("r-1"), b"1"), hub, UNSIGNED)
        assert listener.reply == answered("r-1")


@pytest.mark.parametrize("value", [b"{", b"null", None, msgspec.json.encode({"request_id": 5})])
def test_a_broken_record_is_left_out(value: bytes | None) -> None:
    """The loop goes on, whoever wrote it."""
    hub = ReplyHub(max_listeners=1)
    with hub.listen("r-1", correlation_id=b"1") as listener:
        for topic in ("llm.deltas.v1", "llm.replies.v1"):
            dispatch(_record(topic, value, b"1"), hub, UNSIGNED)
        assert (listener.reply, listener.answer.so_far.text) == (None, "")


def test_a_reply_that_headrace_did_not_write_reaches_nobody() -> None:
    """Whoever may write to the topic may not answer in Headrace's name."""
    hub = ReplyHub(max_listeners=1)
    auth = RecordAuth([b"k" * 32])
    with hub.listen("r-1", correlation_id=b"1") as listener:
        for topic, event in (
            ("llm.deltas.v1", Delta(request_id="r-1", attempt=1, seq=0, text="forged")),
            ("llm.replies.v1", answered("r-1")),
        ):
            dispatch(_record(topic, event, b"1"), hub, auth)
        assert (listener.reply, listener.answer.so_far.text) == (None, "")
        value = encode(answered("r-1"))
        signed = auth.signed("llm.replies.v1", b"r-1", value, (("kafka_correlationId", b"1"),))
        record = ConsumerRecord("llm.replies.v1", 0, 0, 0, 0, b"r-1", value, 0, 0, len(value), signed)
        dispatch(record, hub, auth)
        assert listener.reply == answered("r-1")


class _Consumer:
    """Gives what it was given: batches, or faults to raise; then nothing more."""

    def __init__(self, *turns: Sequence[ConsumerRecord] | Exception) -> None:
        self._turns = list(turns)

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, Sequence[ConsumerRecord]]:
        if not self._turns:
            await asyncio.Event().wait()
        turn = self._turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return {TopicPartition("llm.replies.v1", 0): turn}

    async def stop(self) -> None:
        return


@pytest.mark.parametrize("fault", [KafkaConnectionError(), OSError(), TimeoutError(), ValueError("a bug")])
async def test_the_loop_outlives_every_fault(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's faults and our own: it connects again, and the reply behind them arrives."""
    monkeypatch.setattr(groupless_consumer, "RECONNECT", Backoff(first_s=0.0))
    hub = ReplyHub(max_listeners=1)
    loop = ReplyConsumer(
        GrouplessConsumer("unused:1", client_id="c", timeout_s=1), hub, replica=0, replicas=1
    )
    found = [_record("llm.replies.v1", answered("r-1"), b"1")]
    consumers = [_Consumer(fault, found), _Consumer(OSError("still away")), _Consumer(found)]

    async def connect() -> None:
        loop.kafka.client = consumers.pop(0)

    monkeypatch.setattr(loop, "_connect", connect)
    task = asyncio.create_task(loop.kafka.read_with(loop._poll))
    loop._task = task
    with hub.listen("r-1", correlation_id=b"1") as listener:
        async with asyncio.timeout(5):
            await listener.until(lambda: listener.reply is not None)
        assert listener.reply == answered("r-1")
    assert loop.alive
    assert loop.connected
    await loop.stop()
    assert task.cancelled()
    assert not loop.alive


async def test_a_loop_that_misses_its_cancellation_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `asyncio.wait_for` of Python 3.11 makes it miss one: ingest would never end."""
    monkeypatch.setattr(tasks, "_CANCEL_AGAIN_S", 0.0)
    loop = ReplyConsumer(
        GrouplessConsumer("unused:1", client_id="c", timeout_s=1),
        ReplyHub(max_listeners=1),
        replica=0,
        replicas=1,
    )
    missed: list[int] = []

    async def poll() -> bool:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if missed:
                raise
            missed.append(1)
        return True

    monkeypatch.setattr(loop, "_poll", poll)
    loop._task = asyncio.create_task(loop.kafka.read_with(loop._poll))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await loop.stop()
    assert missed
    assert not loop.alive


class _Stuck(_Consumer):
    """A consumer that never stops, as with a broker that hangs, or that ends with a stray cancellation."""

    def __init__(self, *, stray: bool) -> None:
        super().__init__()
        self._stray = stray

    async def stop(self) -> None:
        if self._stray:
            raise asyncio.CancelledError
        await asyncio.Event().wait()


@pytest.mark.parametrize("stray", [True, False])
async def test_a_consumer_that_does_not_stop_is_left_behind(stray: bool) -> None:
    """The loop must connect anew, whatever becomes of the old connection."""
    consumer = GrouplessConsumer("unused:1", client_id="c", timeout_s=0.01)
    consumer.client = _Stuck(stray=stray)
    async with asyncio.timeout(5):
        await consumer.disconnect()
    assert consumer.client is None

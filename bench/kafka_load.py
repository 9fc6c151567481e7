"""A load generator on Kafka: distinct questions onto the requests topic, and the replies that come back.

It asks as a service in any language would: one JSON record a request, the reply read from
`llm.replies.v1` and known by its request id.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from streams.topics import REPLIES, REQUESTS

_CONNECT_TIMEOUT_S = 20.0
_SEND_TIMEOUT_S = 60.0
_POLL_MS = 200
_SENDS_AT_ONCE = 1000


class _Reply(msgspec.Struct, frozen=True):
    """The fields of a reply that are counted."""

    request_id: str
    status: str
    repeat: bool = False


_decoder = msgspec.json.Decoder(_Reply)


class KafkaLoad:
    """Sends requests and notes which have their reply.

    Args:
        bootstrap: host:port of the broker.
        partitions: how many partitions the reply topic has.
        deadline_ms: how long each request may take.
        ask: makes the next question; each must be new.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        partitions: int = 4,
        deadline_ms: int = 60_000,
        ask: Callable[[], str] | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._replies = [TopicPartition(REPLIES.name, number) for number in range(partitions)]
        self._deadline_ms = deadline_ms
        self._ask = ask or question
        self._producer: AIOKafkaProducer | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._open: dict[str, float] = {}
        self.sent = 0
        self.latencies_s: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.repeated = 0

    @property
    def waiting(self) -> int:
        """How many requests have no reply yet."""
        return len(self._open)

    @property
    def answered(self) -> int:
        """How many requests have their reply."""
        return len(self.latencies_s)

    async def __aenter__(self) -> Self:
        """Connect, and read replies from here on."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, compression_type="lz4"
        )
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False, fetch_max_wait_ms=100
        )
        await asyncio.wait_for(self._producer.start(), _CONNECT_TIMEOUT_S)
        await asyncio.wait_for(consumer.start(), _CONNECT_TIMEOUT_S)
        consumer.assign(self._replies)
        await asyncio.wait_for(consumer.seek_to_end(*self._replies), _CONNECT_TIMEOUT_S)
        self._reader = asyncio.create_task(self._read(consumer), name="replies")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading and disconnect."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        if self._producer is not None:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._producer.stop(), _CONNECT_TIMEOUT_S)

    async def steady(self, requests: int, *, in_flight: int, timeout_s: float) -> None:
        """Send that many requests, at most `in_flight` of them without a reply, and wait for the replies.

        Raises:
            TimeoutError: replies are missing.
        """
        async with asyncio.timeout(timeout_s):
            for _ in range(requests):
                await self._until(in_flight - 1)
                await self._send()
            await self._until(0)

    async def burst(self, requests: int) -> None:
        """Send that many requests as fast as the broker takes them; their replies are not waited for."""
        left = requests
        while left:
            batch = min(left, _SENDS_AT_ONCE)
            await asyncio.gather(*(self._send() for _ in range(batch)))
            left -= batch

    async def all_answered(self, *, timeout_s: float) -> bool:
        """Wait until every request has its reply; False where that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until(0)
        except TimeoutError:
            return False
        return True

    async def _until(self, waiting: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_broken() or len(self._open) <= waiting)
        if self._reader is not None and self._reader.done():
            self._reader.result()

    def _is_broken(self) -> bool:
        return self._reader is not None and self._reader.done()

    async def _send(self) -> None:
        assert self._producer is not None  # noqa: S101  # used as a context
        request_id = uuid.uuid4().hex
        body = {
            "request_id": request_id,
            "user_id": "bench",
            "messages": [{"role": "user", "content": self._ask()}],
            "model": "gpt-4o-mini",
            "max_tokens": 64,
            "deadline_ms": self._deadline_ms,
        }
        self._open[request_id] = time.monotonic()
        self.sent += 1
        delivered = self._producer.send_and_wait(
            REQUESTS.name, value=msgspec.json.encode(body), key=request_id.encode()
        )
        await asyncio.wait_for(delivered, _SEND_TIMEOUT_S)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        try:
            while True:
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        self._note(_decoder.decode(record.value))
                async with self._changed:
                    self._changed.notify_all()
        finally:
            await consumer.stop()

    def _note(self, reply: _Reply) -> None:
        sent_at = self._open.pop(reply.request_id, None)
        if sent_at is None:
            self.repeated += 1
            return
        self.statuses[reply.status] += 1
        self.latencies_s.append(time.monotonic() - sent_at)


def question() -> str:
    """Return a short question that no cache has seen, of 20 tokens or so."""
    number = uuid.uuid4().int % 10**12  # of 10**9 two of 50,000 were the same
    return f"What is the best use of part {number} in a water mill?"


def long_question() -> str:
    """Return the same question with a name that is nothing to a tokenizer: about 45 tokens."""
    return f"What is the best use of part {uuid.uuid4().hex} in a water mill?"

"""The load of the sink's kills: new log records, repeated ones and bad ones, and what must become of them."""

import asyncio
import random
import time
from collections import deque
from datetime import timedelta

from aiokafka import AIOKafkaProducer

from bench.sink_books import Books
from bench.sink_logs import BAD, LogFactory, Shape, days_before
from bench.sink_stand import PARTITIONS
from streams.codec import encode, event_headers
from streams.events import RequestLog
from streams.topics import LOGS

_TICK_S = 0.05
_AGAIN_SHARE = 0.03  # of the records: one that was sent before
_BAD_SHARE = 0.001
_STRETCH_EVERY = 4_000  # records, after which a shuffled stretch of earlier ones comes again
_STRETCH = 300
_REMEMBERED = 20_000

Place = tuple[int, int]
"""A partition and an offset."""


class Load:
    """Writes log records at a steady rate, and books each request once.

    Args:
        producer: connected.
        rate: new and repeated records a second.
        seed: of what is sent.
        seconds: about how long, which spreads the requests over a day and a half.
    """

    def __init__(self, producer: AIOKafkaProducer, *, rate: int, seed: int, seconds: float) -> None:
        self._producer = producer
        self._rate = rate
        self._chance = random.Random(seed + 1)
        expected = max(int(rate * seconds), 1)
        shape = Shape(
            seed=seed,
            begin=days_before(2),
            span=timedelta(hours=36),
            expected=expected,
            late_share=0.01,
            text_share=0.2,
        )
        self._factory = LogFactory(shape)
        self._sent: deque[RequestLog] = deque(maxlen=_REMEMBERED)
        self.books = Books()
        self.records = 0
        self.bad: set[Place] = set()
        self.ends: dict[int, int] = dict.fromkeys(range(PARTITIONS), 0)

    async def run(self, over: asyncio.Event) -> None:
        """Send until it is over; return when the broker has everything."""
        began, made = time.monotonic(), 0
        while not over.is_set():
            due = int((time.monotonic() - began) * self._rate) - made
            async with asyncio.TaskGroup() as sends:
                for _ in range(min(due, self._rate)):
                    made += 1
                    await self._one(sends)
                    if made % _STRETCH_EVERY == 0:
                        await self._stretch(sends)
            await asyncio.sleep(_TICK_S)

    async def _one(self, sends: asyncio.TaskGroup) -> None:
        luck = self._chance.random()
        if luck < _AGAIN_SHARE and self._sent:
            await self._send(sends, self._chance.choice(self._sent))
            return
        log = self._factory.next()
        if luck > 1 - _BAD_SHARE:
            await self._send(sends, log, value=self._chance.choice(BAD)(log))
            return
        self.books.add(log)
        self._sent.append(log)
        await self._send(sends, log)

    async def _stretch(self, sends: asyncio.TaskGroup) -> None:
        """Send earlier records again, one after another and in another order: a batch of repeats."""
        start = self._chance.randrange(max(len(self._sent) - _STRETCH, 1))
        stretch = [self._sent[place] for place in range(start, min(start + _STRETCH, len(self._sent)))]
        self._chance.shuffle(stretch)
        for log in stretch:
            await self._send(sends, log)

    async def _send(self, sends: asyncio.TaskGroup, log: RequestLog, value: bytes | None = None) -> None:
        headers = event_headers(log, event_id=f"{log.request_id}:log", source="headrace/cost")
        key = log.request_id.encode()
        acknowledged = await self._producer.send(LOGS.name, value or encode(log), key=key, headers=headers)
        self.records += 1
        sends.create_task(self._note(acknowledged, bad=value is not None))

    async def _note(self, acknowledged: asyncio.Future, *, bad: bool) -> None:  # type: ignore[type-arg]
        sent = await acknowledged
        self.ends[sent.partition] = max(self.ends[sent.partition], sent.offset + 1)
        if bad:
            self.bad.add((sent.partition, sent.offset))

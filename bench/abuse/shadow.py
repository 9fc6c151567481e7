"""An attacker who reads what a victim asks, and is quicker than the pipeline to answer it."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import msgspec
from aiokafka import AIOKafkaConsumer

from bench.abuse.forged import Forger
from bench.abuse.records import INTRUDER, Headers, Hostile
from bench.abuse.sending import RawProducer
from bench.abuse.witness import TENANT
from streams.codec import encode, event_headers
from streams.kafka.clients import stop_client
from streams.topics import ALERTS, DEAD_LETTER_ACTIONS, ERASURES, REQUESTS

_STOP_S = 15.0
_NOT_OF_A_REQUEST = (ERASURES, ALERTS, DEAD_LETTER_ACTIONS)


class _Asked(msgspec.Struct):
    tenant: str | None = None
    request_id: str | None = None


class Shadow:
    """Follows the requests topic, and forges every internal event of each request of the victim's at once.

    Args:
        kafka: host:port of the broker.
        producer: sends.
        forger: makes the events up.
        skip: beginnings of the kinds that are left out.
    """

    def __init__(self, kafka: str, producer: RawProducer, forger: Forger, skip: tuple[str, ...] = ()) -> None:
        self._consumer = AIOKafkaConsumer(
            REQUESTS.name, bootstrap_servers=kafka, group_id=None, auto_offset_reset="latest"
        )
        self._producer, self._forger, self._skip = producer, forger, skip
        self._task: asyncio.Task[None] | None = None
        self.shadowed = 0

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        await self._consumer.seek_to_end()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await stop_client(self._consumer, timeout_s=_STOP_S)

    async def _run(self) -> None:
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=50)
            except UnicodeDecodeError:  # of a header's name: the attacker's own client stumbles over it
                await self._consumer.seek_to_end()
                continue
            for record in (each for records in batches.values() for each in records):
                with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    asked = msgspec.json.decode(record.value or b"", type=_Asked)
                    if asked.tenant == TENANT and asked.request_id is not None:
                        await self._attack(asked.request_id, tuple(record.headers))

    async def _attack(self, request_id: str, headers: Headers) -> None:
        self.shadowed += 1
        for record in (*self._requests(request_id, headers), *self._events(request_id)):
            if not record.kind.startswith(self._skip):
                await self._producer.send(record)

    def _requests(self, request_id: str, headers: Headers) -> Iterator[Hostile]:
        """Yield requests under the id of the victim's: one, and then some with its correlation id, too."""
        body = {"request_id": request_id, "user_id": INTRUDER, "tenant": INTRUDER, "query": "What is lye?"}
        value = msgspec.json.encode(body)
        record = Hostile(kind="shadow request", topic=REQUESTS.name, key=request_id.encode(), value=value)
        yield record
        for spoilt in (value, value[:-1], None):
            yield msgspec.structs.replace(record, kind="shadow refused", value=spoilt, headers=headers)

    def _events(self, request_id: str) -> Iterator[Hostile]:
        for topic, key, event in self._forger.about(request_id):
            if topic not in _NOT_OF_A_REQUEST:
                headers = tuple(event_headers(event, event_id=request_id, source="headrace/worker-0"))
                kind = f"shadow {topic.name}"
                yield Hostile(kind=kind, topic=topic.name, key=key, value=encode(event), headers=headers)

"""Reads the list of erasures: to the end of its topic each time somebody asks.

A writer of user data asks before the write and after it. The second answer contains every erasure that the
broker had acknowledged by then.
"""

import asyncio
from typing import Self

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.codec import decode
from streams.erasure.erasures import ErasureList
from streams.errors import InputError, KafkaUnavailable
from streams.events import Erasure
from streams.kafka.clients import stop_client
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.publisher import Emit
from streams.topics import ERASURES

log = structlog.get_logger(__name__)

#: All erasures are on one partition: there are few, and one end offset is quickly known.
PARTITION = 0
_PLACE = TopicPartition(ERASURES.name, PARTITION)
_POLL_MS = 200
_FETCH_WAIT_MS = 25
_POLL_RECORDS = 5_000


class ErasureFeed:
    """Reads the topic without a consumer group. It connects with the first question, and again after a fault.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: how long one answer may take; the first one reads the whole topic.
        auth: recognises the records that Headrace wrote; others are ignored.
    """

    def __init__(
        self, bootstrap: str, *, client_id: str, timeout_s: float = 15.0, auth: RecordAuth = UNSIGNED
    ) -> None:
        self._auth = auth
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._consumer: AIOKafkaConsumer | None = None
        self._list = ErasureList()
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Connect at the first question, not here."""
        return self

    async def __aexit__(self, *fault: object) -> None:
        """Disconnect."""
        await self.close()

    async def current(self) -> ErasureList:
        """Return the list with everything that was ordered before the call; the same object if nothing was.

        Raises:
            KafkaUnavailable: no broker answered in time, or the topic does not exist.
        """
        async with self._asking:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._catch_up()
            except (KafkaError, TimeoutError, OSError) as fault:
                await self.close()
                raise KafkaUnavailable(
                    f"cannot read {ERASURES.name} at {self._bootstrap}: {fault!r} (if the topic does not "
                    "exist: headrace topics create)"
                ) from fault

    async def close(self) -> None:
        """Disconnect, and keep the list."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_client(consumer, timeout_s=self._timeout_s)

    async def _catch_up(self) -> ErasureList:
        consumer = self._consumer or await self._open()
        end = (await consumer.end_offsets([_PLACE]))[_PLACE]
        if await consumer.position(_PLACE) >= end:
            return self._list
        consumer.resume(_PLACE)
        # The position also moves over the gaps that compaction leaves.
        while await consumer.position(_PLACE) < end:
            fetched = await consumer.getmany(_PLACE, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            own = [record for record in fetched.get(_PLACE, ()) if self._wrote(record)]
            records = [each for record in own if (each := _read(record)) is not None]
            if records:
                self._list = self._list.learned(records)
        # Otherwise it would fetch all the time, and each question would wait behind a fetch.
        consumer.pause(_PLACE)
        return self._list

    def _wrote(self, record: ConsumerRecord) -> bool:
        if self._auth.wrote(record):
            return True
        log.warning("erasures.unauthentic", offset=record.offset)
        return False

    async def _open(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap.split(","),
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            retry_backoff_ms=20,  # a topic whose leader is not known yet is asked for once more
        )
        self._consumer = consumer  # from here on `close` ends it, whatever happens
        await consumer.start()
        consumer.assign([_PLACE])
        consumer.seek(_PLACE, 0)
        consumer.pause(_PLACE)
        return consumer


def erasure_emit(erasure: Erasure) -> Emit:
    """Return the record that orders an erasure."""
    return Emit.to(ERASURES, erasure, key=erasure.digest, partition=PARTITION)


def _read(record: ConsumerRecord) -> tuple[str, Erasure | None] | None:
    """Return digest and erasure of a record, or None where it is unreadable."""
    key = (record.key or b"").decode(errors="replace")
    if record.value is None:
        return key, None
    try:
        erasure = decode(record.value, Erasure, record.headers)
    except InputError as fault:
        log.warning("erasures.unreadable", offset=record.offset, error=str(fault))
        return None
    return erasure.digest, erasure

"""The list of erasures as it is now: read from its topic to the very end each time somebody asks.

Who stores a user's data asks before it writes and after it. Whatever was ordered before the second answer is
in it, because a record counts as ordered once the broker has acknowledged it.
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

#: All erasures are on one partition: there are few, and one end is quickly known.
PARTITION = 0
_PLACE = TopicPartition(ERASURES.name, PARTITION)
_POLL_MS = 200
_FETCH_WAIT_MS = 25
_POLL_RECORDS = 5_000


class ErasureFeed:
    """Follows the topic without a consumer group: each process knows the whole list.

    It connects when it is first asked, and anew after a fault.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        client_id: the name that the broker's logs and metrics show.
        timeout_s: how long one answer may take; the first one reads the whole topic.
        auth: tells which orders Headrace wrote; others count for nothing.
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
        """Return the list with everything that was ordered before this was called.

        As long as nothing is ordered it is the same object each time.

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
        """Disconnect, whatever state the broker is in; what is known is kept."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_client(consumer, timeout_s=self._timeout_s)

    async def _catch_up(self) -> ErasureList:
        consumer = self._consumer or await self._open()
        end = (await consumer.end_offsets([_PLACE]))[_PLACE]
        if await consumer.position(_PLACE) >= end:
            return self._list
        consumer.resume(_PLACE)
        # A position moves over what is no record, too: the gaps that compaction leaves.
        while await consumer.position(_PLACE) < end:
            fetched = await consumer.getmany(_PLACE, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            own = [record for record in fetched.get(_PLACE, ()) if self._wrote(record)]
            records = [each for record in own if (each := _read(record)) is not None]
            if records:
                self._list = self._list.learned(records)
        # Else it would ask for more all the time, and each question would wait behind a fetch.
        consumer.pause(_PLACE)
        return self._list

    def _wrote(self, record: ConsumerRecord) -> bool:
        if authentic := self._auth.wrote(record):
            return authentic
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
    """Return what a record says; None where it says nothing that can be understood."""
    key = (record.key or b"").decode(errors="replace")
    if record.value is None:
        return key, None
    try:
        erasure = decode(record.value, Erasure, record.headers)
    except InputError as fault:
        log.warning("erasures.unreadable", offset=record.offset, error=str(fault))
        return None
    return erasure.digest, erasure

"""A consumer without a consumer group: one connection to Kafka, opened again after every fault."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from streams.backoff import Backoff
from streams.kafka.clients import start_client, stop_client

log = structlog.get_logger(__name__)

#: What a consumer raises while the broker is away.
BROKER_FAULTS = (KafkaError, OSError, TimeoutError)
#: The waits between two tries to reach the broker.
RECONNECT = Backoff(first_s=0.2, max_s=5.0)


class GrouplessConsumer:
    """One connection to Kafka, opened again after every fault; `client` is None while there is none.

    Connecting takes at most `timeout_s`, and so does an answer. `committed_only` leaves out the records of
    transactions that are not committed; `auto_offset_reset` says where it goes on whose place is gone.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str,
        timeout_s: float,
        committed_only: bool = False,
        auto_offset_reset: Literal["latest", "earliest"] = "latest",
    ) -> None:
        self.bootstrap = bootstrap
        self.timeout_s = timeout_s
        self.client: AIOKafkaConsumer | None = None
        self._client_id = client_id
        self._auto_offset_reset = auto_offset_reset
        self._isolation = "read_committed" if committed_only else "read_uncommitted"

    async def connect(self) -> AIOKafkaConsumer:
        """Return the client; a new one is connected, has no partitions yet, and commits nothing."""
        if self.client is None:
            client = AIOKafkaConsumer(
                bootstrap_servers=self.bootstrap.split(","),
                client_id=self._client_id,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset=self._auto_offset_reset,
                isolation_level=self._isolation,
                request_timeout_ms=int(self.timeout_s * 1000),  # a broker that vanished never says so
            )
            await start_client(client, timeout_s=self.timeout_s)
            self.client = client
        return self.client

    async def disconnect(self) -> None:
        """Close the connection, whatever state the broker is in."""
        client, self.client = self.client, None
        if client is not None and (fault := await stop_client(client, timeout_s=self.timeout_s)) is not None:
            log.warning("consumer.stop_failed", error=fault)

    async def read_with(self, read: Callable[[], Awaitable[bool]]) -> None:
        """Call `read` until it returns False, and disconnect then. After a fault, disconnect and go on."""
        failures = 0
        try:
            while True:
                try:
                    if not await read():
                        return
                    failures = 0
                    continue
                except BROKER_FAULTS as fault:
                    log.warning("consumer.broker_fault", client_id=self._client_id, error=repr(fault))
                except Exception:  # one bad record must not leave every client waiting
                    log.exception("consumer.fault", client_id=self._client_id)
                failures += 1
                await self.disconnect()
                await asyncio.sleep(RECONNECT.wait_s(failures))
        finally:
            await self.disconnect()

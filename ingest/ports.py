"""What ingest needs from outside, as the shapes it is used in; tests bring their own."""

from collections.abc import Mapping
from typing import Any, Protocol

from streams.events import ReplyAddress
from streams.publisher import Emit, Position
from streams.registry import CancelAnswer, Registration, RequestState


class Publishing(Protocol):
    """The way onto a topic: `streams.publisher.Publisher`."""

    async def publish(self, emit: Emit) -> Position:
        """Send one record and wait until the broker has it.

        Raises:
            KafkaUnavailable: not acknowledged in time.
        """
        ...


class Registry(Protocol):
    """Where each request stands: `streams.registry.RequestRegistry`.

    Every method raises `StoreUnavailable` where the store does not answer.
    """

    async def register(
        self,
        request_id: str,
        *,
        tenant: str,
        body: str,
        origin: str,
        running: bool,
        reply_to: ReplyAddress,
    ) -> Registration:
        """Register a submission, and say what it is to those before it."""
        ...

    async def abandon(self, request_id: str, *, origin: str) -> None:
        """Forget a registration whose record could not be published."""
        ...

    async def cancel(
        self, request_id: str, *, tenant: str, reason: str, only_alone: bool = False
    ) -> CancelAnswer:
        """Ask that a request be ended."""
        ...

    async def find(self, request_id: str) -> RequestState | None:
        """Return where the request stands, or None if it is unknown."""
        ...


class Spend(Protocol):
    """What a tenant's requests cost and what the cache saved: `ingest.spend.ClickHouseSpend`.

    Every method raises `ClickHouseUnavailable` where ClickHouse does not answer.
    """

    async def costs(self, tenant: str) -> Mapping[str, Any]:
        """Return the cost summary of a tenant."""
        ...

    async def cache_stats(self, tenant: str) -> Mapping[str, Any]:
        """Return the cache statistics of a tenant."""
        ...


class ReplyLoop(Protocol):
    """The state of the loop that reads replies and deltas: `ingest.reply_consumer.ReplyConsumer`."""

    @property
    def alive(self) -> bool:
        """Whether the loop turns."""
        ...

    @property
    def connected(self) -> bool:
        """Whether it reads from Kafka."""
        ...

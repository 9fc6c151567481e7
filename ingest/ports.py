"""What ingest needs from outside, as the shapes it is used in; tests bring their own."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from ingest.batches.lines import LineName
from ingest.batches.store import Batch
from ingest.submit.client_retries import SdkCall
from streams.events import ReplyAddress
from streams.publisher import Emit, Position
from streams.registry.registry import CancelAnswer, Glimpse, Registration, RequestState


class Publishing(Protocol):
    """The way onto a topic: `streams.publisher.Publisher`."""

    async def publish(self, emit: Emit) -> Position:
        """Send one record and wait until the broker has it.

        Raises:
            KafkaUnavailable: not acknowledged in time.
        """
        ...


class Registry(Protocol):
    """Where each request stands: `streams.registry.registry.RequestRegistry`.

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

    async def find_many(self, request_ids: Sequence[str]) -> list[RequestState | None]:
        """Return where each request stands, with its reply."""
        ...

    async def glimpse_many(self, request_ids: Sequence[str], *, tenant: str) -> list[Glimpse | None]:
        """Return how each request of a tenant ended, if it has, without its reply."""
        ...


class Runs(Protocol):
    """The newest run of each idempotency key: `streams.registry.runs.RequestRuns`."""

    async def newest(self, id_of_run: Callable[[int], str], *, body: str) -> str | None:
        """Return the id of the run that a submission belongs to; None where the key has another body.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...


class SdkCalls(Protocol):
    """The open calls of SDKs that retry by themselves: `ingest.submit.client_retries.ClientRetries`."""

    async def call_of(self, *, tenant: str, body: str, retries: int, deadline_ms: int) -> SdkCall:
        """Return the call that an attempt belongs to.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    def attending(self, call: SdkCall | None) -> AbstractContextManager[None]:
        """Surround the work on an attempt; its end is noted, beside the response."""
        ...


class BatchRecords(Protocol):
    """What is remembered of a batch: `ingest.batches.store.BatchStore`.

    Every method raises `StoreUnavailable` where the store does not answer.
    """

    async def begin(self, batch_id: str, *, tenant: str, digest: str, names: tuple[LineName, ...]) -> Batch:
        """Remember a batch before its first line is submitted; return the one that has this id."""
        ...

    async def accept(self, batch_id: str) -> Batch | None:
        """Note that every line was accepted, and return the batch."""
        ...

    async def rerun(self, batch: Batch, runs: dict[str, int]) -> Batch | None:
        """Begin new runs of some lines, unless somebody else has since `batch` was read; return the batch."""
        ...

    async def cancel(self, batch_id: str) -> Batch | None:
        """Note that the batch is to be cancelled, and return it."""
        ...

    async def find(self, batch_id: str) -> Batch | None:
        """Return a batch, or None if there is none."""
        ...


class Spend(Protocol):
    """What a tenant's requests cost and what the cache saved: `ingest.admin.spend.ClickHouseSpend`.

    Every method raises `ClickHouseUnavailable` where ClickHouse does not answer.
    """

    async def costs(self, tenant: str) -> Mapping[str, Any]:
        """Return the cost summary of a tenant."""
        ...

    async def cache_stats(self, tenant: str) -> Mapping[str, Any]:
        """Return the cache statistics of a tenant."""
        ...


class BoundQuery(Protocol):
    """A statement with the values of its parameters: `analytics.reports.catalogue.Bound`."""

    @property
    def sql(self) -> str:
        """The statement, with a placeholder for each parameter."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values, by name."""
        ...


class Queries(Protocol):
    """The query catalogue: `analytics.reports.catalogue.Catalogue`, handed in by the command line.

    Ingest's summaries are made of the same queries as the analysts' reports, so that they cannot differ.
    """

    def bind(self, name: str, given: Mapping[str, object]) -> BoundQuery:
        """Return a query's statement with these values of its parameters."""
        ...


class ReplyLoop(Protocol):
    """The state of the loop that reads replies and deltas: `ingest.follow.reply_consumer.ReplyConsumer`."""

    @property
    def alive(self) -> bool:
        """Whether the loop turns."""
        ...

    @property
    def connected(self) -> bool:
        """Whether it reads from Kafka."""
        ...

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions that it reads."""
        ...


class History(Protocol):
    """The way to deltas that the reply loop has not seen: `ingest.follow.history.DeltaHistory`."""

    def following(
        self, request_id: str, reply_to: ReplyAddress | None, *, since: datetime, whole: bool
    ) -> AbstractContextManager[None]:
        """Have the hub hear of a request's deltas, from the first one on."""
        ...

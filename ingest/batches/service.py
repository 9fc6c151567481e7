"""Batches: files of requests that are accepted as one, and answered line by line like any other request."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import structlog

from ingest.batches.lines import CheckedFile, Line, LineName
from ingest.batches.progress import (
    SUBMIT_TIMEOUT_S,
    BatchStatus,
    FoundLine,
    Progress,
    counts_of,
    line_request_id,
    runs_anew,
    status_of,
)
from ingest.batches.store import Batch
from ingest.errors import ApiError, conflict, not_found, outage, unavailable
from ingest.ports import BatchRecords, Registry
from ingest.submit.submission import Ask, Submissions
from ingest.submit.tracing import traceparent_of
from streams.errors import HeadraceError, StoreUnavailable
from streams.registry.cancellation import BY_SENDER
from streams.registry.registry import Glimpse
from streams.serving.keys import Caller

log = structlog.get_logger(__name__)

_LINES_AT_ONCE = 32
_OPEN = Glimpse()
_GLIMPSES_AT_ONCE = 1_000
_REPLIES_AT_ONCE = 100
#: Each may hold a file of `MAX_BATCH_BYTES` in memory, and a copy of it for a moment.
_MAX_RECEIVED_AT_ONCE = 2


class Batches:
    """Accepts batches, and says how far they are.

    Args:
        records: what is remembered of batches.
        registry: where each request stands.
        submissions: accepts each line.
        clock: returns the time, UTC-aware.
    """

    def __init__(
        self,
        records: BatchRecords,
        registry: Registry,
        submissions: Submissions,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._registry = registry
        self._submissions = submissions
        self._clock = clock
        self._received = 0

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Surround the reception of one file.

        Raises:
            ApiError: 503, as many as may be are being received already.
        """
        if self._received >= _MAX_RECEIVED_AT_ONCE:
            raise unavailable(
                f"{self._received} batches are being received already; try again",
                code="overloaded",
                retry_after_s=5.0,
            )
        self._received += 1
        try:
            yield
        finally:
            self._received -= 1

    async def submit(
        self, batch_id: str, file: CheckedFile, *, caller: Caller, traceparent: str | None
    ) -> bool:
        """Accept every line of a checked file; what was accepted before is recognised, and not done again.

        Of a batch that was accepted before, and not cancelled, lines that failed at no cost are run anew.

        Returns:
            Whether all of it was accepted before, and nothing is done now.

        Raises:
            ApiError: 409, the id stands for another file; 503, Kafka or Redis does not answer: some of the
                lines may have been accepted.
        """
        with _registry_faults():
            batch = await self._records.begin(
                batch_id, tenant=caller.tenant, digest=file.digest, names=file.names
            )
        if batch.digest != file.digest or batch.tenant != caller.tenant:
            raise conflict(
                "this Idempotency-Key was used for another batch: use a new key for a new batch",
                param="Idempotency-Key",
            )
        if batch.accepted_at and not batch.cancelled_at:
            batch = await self._with_new_runs(batch)
        if batch.accepted_at or batch.cancelled_at:
            return True
        asks = (_ask(line, batch, caller, traceparent_of(traceparent)) for line in file.lines())
        try:
            async with asyncio.timeout(SUBMIT_TIMEOUT_S):
                await _side_by_side(lambda: self._submit_some(asks))
        except ApiError as fault:
            raise _interrupted(fault, batch_id) from fault
        except TimeoutError as fault:
            raise _interrupted(unavailable("it took too long"), batch_id) from fault
        with _registry_faults():
            accepted = await self._records.accept(batch_id)
        log.info("batches.accepted", batch_id=batch_id, tenant=caller.tenant, lines=len(file.names))
        if accepted is not None and accepted.cancelled_at:
            await self._cancel_lines(accepted)
        return False

    async def progress(self, batch_id: str, tenant: str) -> Progress:
        """Return how far a batch is.

        Raises:
            ApiError: 404, there is none, or it is another tenant's; 503, Redis does not answer.
        """
        with _registry_faults():
            batch = await self._records.find(batch_id)
        if batch is None or batch.tenant != tenant:
            raise _no_such_batch()
        return await self._progress_of(batch)

    async def cancel(self, batch_id: str, tenant: str) -> Progress:
        """Cancel every line that has not ended; a batch that is cancelled already stays so.

        Raises:
            ApiError: as `progress`; 409, every line has ended.
        """
        found = await self.progress(batch_id, tenant)
        if found.status is BatchStatus.COMPLETED:
            raise conflict(
                "every line of the batch has ended already", code="batch_finished", param="batch_id"
            )
        with _registry_faults():
            batch = await self._records.cancel(batch_id)
        if batch is None:
            raise _no_such_batch()
        await self._cancel_lines(batch)
        return await self._progress_of(batch)

    async def lines(self, batch: Batch) -> AsyncGenerator[list[FoundLine], None]:
        """Yield the lines in order, with their replies, some at a time.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        for names in _chunks(batch.names, _REPLIES_AT_ONCE):
            ids = [line_request_id(batch, name) for name in names]
            states = await self._registry.find_many(ids)
            yield [
                FoundLine(name, request_id, state if state and state.tenant == batch.tenant else None)
                for name, request_id, state in zip(names, ids, states, strict=True)
            ]

    async def _with_new_runs(self, batch: Batch) -> Batch:
        """Return the batch with a new run of every line that failed at no cost; as it is where none did."""
        with _registry_faults():
            runs = runs_anew(batch, [seen for _, seen in await self._glimpses(batch)])
            if runs == batch.runs:
                return batch
            return await self._records.rerun(batch, runs) or batch

    async def _submit_some(self, asks: Iterator[Ask]) -> None:
        for ask in asks:
            await self._submissions.submit(ask, followed=False)

    async def _cancel_lines(self, batch: Batch) -> None:
        with _registry_faults():
            open_ids = [request_id for request_id, seen in await self._glimpses(batch) if seen == _OPEN]
            remaining = iter(open_ids)
            await _side_by_side(lambda: self._cancel_some(remaining, batch.tenant))

    async def _cancel_some(self, request_ids: Iterator[str], tenant: str) -> None:
        for request_id in request_ids:
            await self._registry.cancel(request_id, tenant=tenant, reason=BY_SENDER)

    async def _progress_of(self, batch: Batch) -> Progress:
        with _registry_faults():
            seen = [glimpse for _, glimpse in await self._glimpses(batch)]
        counts = counts_of(batch, seen)
        status = status_of(batch, counts, self._clock())
        return Progress(batch=batch, status=status, counts=counts.adding_up(status))

    async def _glimpses(self, batch: Batch) -> list[tuple[str, Glimpse | None]]:
        found: list[tuple[str, Glimpse | None]] = []
        for names in _chunks(batch.names, _GLIMPSES_AT_ONCE):
            ids = [line_request_id(batch, name) for name in names]
            glimpses = await self._registry.glimpse_many(ids, tenant=batch.tenant)
            found += zip(ids, glimpses, strict=True)
        return found


def _ask(line: Line, batch: Batch, caller: Caller, traceparent: str) -> Ask:
    return Ask(
        request=line.request,
        caller=caller,
        request_id=line_request_id(batch, line.name),
        deadline_ms=line.deadline_ms,
        traceparent=traceparent,
    )


async def _side_by_side(work: Callable[[], Awaitable[None]]) -> None:
    """Run so many of `work` at once; the first fault ends them all."""

    async def run() -> None:
        await work()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_LINES_AT_ONCE):
                group.create_task(run())
    except* HeadraceError as faults:
        fault: BaseException = faults
        while isinstance(fault, BaseExceptionGroup):
            fault = fault.exceptions[0]
        raise fault from None


@contextmanager
def _registry_faults() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as fault:
        log.warning("batches.registry_unavailable", error=str(fault))
        raise outage(fault, "the request registry") from fault


def _interrupted(fault: ApiError, batch_id: str) -> ApiError:
    if fault.status != 503:
        return fault
    message = (
        f"{batch_id} was not accepted as a whole: {fault.error.message}. Send the same batch again with the "
        "same Idempotency-Key: lines that were accepted go on, and are not done twice. If it had none, "
        "cancel the batch"
    )
    return ApiError(503, msgspec.structs.replace(fault.error, message=message), headers=fault.headers)


def _no_such_batch() -> ApiError:
    return not_found(
        "no such batch: it was never sent, or it is no longer kept", code="batch_not_found", param="batch_id"
    )


def _chunks(names: Sequence[LineName], size: int) -> Iterator[Sequence[LineName]]:
    return (names[start : start + size] for start in range(0, len(names), size))

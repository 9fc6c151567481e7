"""Accepts batches, says how far they are, and cancels them. Each line is a request like any other."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import structlog

from ingest.batches.batch import (
    SUBMIT_TIMEOUT_S,
    Batch,
    BatchProgress,
    BatchStatus,
    BatchStore,
    FoundLine,
    line_request_id,
    progress_of,
    runs_anew,
)
from ingest.batches.lines import CheckedFile, LineName
from ingest.errors import as_api_error, conflict
from ingest.submit.http_message import traceparent_of
from ingest.submit.submission import PreparedRequest, Submissions
from streams.errors import HeadraceError
from streams.registry.entries import BY_SENDER
from streams.registry.registry import RequestRegistry, RequestSummary
from streams.serving.api_keys import Caller
from streams.serving.responses import ApiError, not_found, unavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

_LINES_AT_ONCE = 32
_OPEN = RequestSummary()
_SUMMARIES_AT_ONCE = 1_000
_REPLIES_AT_ONCE = 100
#: Each may hold a file of `MAX_BATCH_BYTES` in memory, and a copy of it for a moment.
_MAX_RECEIVED_AT_ONCE = 2


@dataclass(eq=False)
class Batches:
    """Batches of requests. Every method raises `StoreUnavailable` if Redis does not answer."""

    records: BatchStore
    registry: RequestRegistry
    submissions: Submissions
    _received: int = field(default=0, init=False)

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Surround the reception of one file; 503 where as many as may be are being received already."""
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
        """Accept every line of a checked file; return whether all of them were accepted before.

        Lines that were accepted before are not done again. If the whole batch was, and was not cancelled,
        lines that failed at no cost are run anew.

        Raises `ApiError`: 409, the id stands for another file; 503, Kafka or Redis does not answer, and some
        of the lines may have been accepted.
        """
        batch = await self.records.begin(batch_id, tenant=caller.tenant, digest=file.digest, names=file.names)
        if batch.digest != file.digest or batch.tenant != caller.tenant:
            raise conflict(
                "this Idempotency-Key was used for another batch: use a new key for a new batch",
                param="Idempotency-Key",
            )
        if batch.accepted_at and not batch.cancelled_at:
            runs = runs_anew(batch, await self._summaries(batch))
            if runs != batch.runs:
                batch = await self.records.rerun(batch, runs) or batch
        if batch.accepted_at or batch.cancelled_at:
            return True
        try:
            async with asyncio.timeout(SUBMIT_TIMEOUT_S):
                await self._submit_lines(batch, file, caller, traceparent)
        except HeadraceError as fault:
            raise _interrupted(as_api_error(fault), batch_id) from fault
        except TimeoutError as fault:
            raise _interrupted(unavailable("it took too long"), batch_id) from fault
        accepted = await self.records.accept(batch_id)
        log.info("batches.accepted", batch_id=batch_id, tenant=caller.tenant, lines=len(file.names))
        if accepted is not None and accepted.cancelled_at:
            await self._cancel_lines(accepted)
        return False

    async def progress(self, batch_id: str, tenant: str) -> BatchProgress:
        """Return how far a batch is; 404 where the tenant has none of this id."""
        batch = await self.records.find(batch_id)
        if batch is None or batch.tenant != tenant:
            raise _no_such_batch()
        return await self._progress_of(batch)

    async def cancel(self, batch_id: str, tenant: str) -> BatchProgress:
        """Cancel every line that has not ended; 404 as `progress`, 409 where every line has ended."""
        found = await self.progress(batch_id, tenant)
        if found.status is BatchStatus.COMPLETED:
            raise conflict(
                "every line of the batch has ended already", code="batch_finished", param="batch_id"
            )
        batch = await self.records.cancel(batch_id)
        if batch is None:
            raise _no_such_batch()
        await self._cancel_lines(batch)
        return await self._progress_of(batch)

    async def lines(self, batch: Batch) -> AsyncGenerator[list[FoundLine], None]:
        """Yield the lines in order, with their replies, some at a time."""
        for names in _chunks(batch.names, _REPLIES_AT_ONCE):
            ids = [line_request_id(batch, name) for name in names]
            states = await self.registry.find_many(ids)
            yield [
                FoundLine(name, request_id, state if state and state.tenant == batch.tenant else None)
                for name, request_id, state in zip(names, ids, states, strict=True)
            ]

    async def _submit_lines(
        self, batch: Batch, file: CheckedFile, caller: Caller, traceparent: str | None
    ) -> None:
        requests = (
            PreparedRequest(
                request=line.request,
                caller=caller,
                request_id=line_request_id(batch, line.name),
                deadline_ms=line.deadline_ms,
                traceparent=traceparent_of(traceparent),
            )
            for line in file.lines()
        )
        await _side_by_side(requests, lambda each: self.submissions.submit(each, followed=False))

    async def _cancel_lines(self, batch: Batch) -> None:
        summaries = await self._summaries(batch)
        open_ids = [
            line_request_id(batch, name)
            for name, seen in zip(batch.names, summaries, strict=True)
            if seen == _OPEN
        ]
        await _side_by_side(
            open_ids, lambda each: self.registry.cancel(each, tenant=batch.tenant, reason=BY_SENDER)
        )

    async def _progress_of(self, batch: Batch) -> BatchProgress:
        return progress_of(batch, await self._summaries(batch), datetime.now(UTC))

    async def _summaries(self, batch: Batch) -> list[RequestSummary | None]:
        found: list[RequestSummary | None] = []
        for names in _chunks(batch.names, _SUMMARIES_AT_ONCE):
            ids = [line_request_id(batch, name) for name in names]
            found += await self.registry.summaries_of(ids, tenant=batch.tenant)
        return found


async def _side_by_side(items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Do `work` on each item, `_LINES_AT_ONCE` at a time; the first fault ends it all, and is raised."""
    waiting = iter(items)

    async def run() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_LINES_AT_ONCE):
                group.create_task(run())
    except* HeadraceError as faults:
        raise faults.exceptions[0] from None


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

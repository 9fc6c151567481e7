"""The steps of a paid request, from its claim in the journal to the acknowledged result.

LlmStage.handle  → PaidWork.run       claims the request, makes the calls, stores the result
(broker)         → PaidWork.delivered notes that the broker has the result
(a bug)          → PaidWork.salvaged  finds what was spent, so that it is booked
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from agents.paid_calls.call_journal import CallJournal
from agents.paid_calls.paid_request import PaidRequest, with_calls
from agents.stage import Delivery, Superseded
from agents.stores.journal_entries import Claimed, Fenced, Lease, ResultStored
from streams.errors import StoreUnavailable
from streams.events import Completed, Envelope, LlmCall, OutcomeReached

_MAX_KEPT = 10_000

R = TypeVar("R", bound=PaidRequest)
O = TypeVar("O", bound=Completed | OutcomeReached)  # noqa: E741

log = structlog.get_logger(__name__)


class _OpenDelivery:
    """A delivery between `handle` and `delivered` (or `salvage`), and how far its work is."""

    def __init__(self, delivery: Delivery[Any], envelope: Envelope) -> None:
        self.delivery = delivery  # held, so that its `id` is nobody else's
        self.envelope = envelope
        self.request: PaidRequest | None = None
        self.unsent: Lease | None = None


class PaidWork(Generic[R, O]):
    """The work of one stage, delivery by delivery.

    Deliveries are known by identity: a zombie's delivery of the same record is another one, and must not
    close this one's entry.
    """

    def __init__(
        self,
        journal: CallJournal,
        *,
        stage: str,
        instance: str,
        pack: Callable[[O], bytes],
        unpack: Callable[[bytes], O],
    ) -> None:
        self._journal = journal
        self._stage = stage
        self._instance = instance
        self._pack = pack
        self._unpack = unpack
        self._open: OrderedDict[int, _OpenDelivery] = OrderedDict()

    def open(self, delivery: Delivery[Any], envelope: Envelope) -> None:
        """Remember a delivery's envelope, for its salvage."""
        self._open[id(delivery)] = _OpenDelivery(delivery, envelope)
        while len(self._open) > _MAX_KEPT:
            self._open.popitem(last=False)

    async def run(
        self,
        delivery: Delivery[Any],
        *,
        request: Callable[[Lease, list[LlmCall]], R],
        outcome: Callable[[R], Awaitable[O]],
    ) -> O | None:
        """Return the result that is to be sent; None for a repeat that another delivery answers.

        Args:
            delivery: one that was opened.
            request: makes the request of the lease and the calls of former attempts.
            outcome: makes the calls, and returns the result.

        Raises:
            StoreUnavailable: the journal does not answer, so no call may be made.
            Superseded: another attempt took over.
        """
        entry = self._open[id(delivery)]
        try:
            return await self._run(entry, request, outcome)
        except Fenced as fenced:
            event = f"{self._stage}.fenced"
            log.warning(event, request_id=entry.envelope.request_id, reason=str(fenced))
            self._open.pop(id(delivery), None)
            raise Superseded from fenced
        except (StoreUnavailable, asyncio.CancelledError):  # every call is in the journal: see `CallLoop.run`
            self._open.pop(id(delivery), None)
            raise

    async def _run(
        self,
        entry: _OpenDelivery,
        request: Callable[[Lease, list[LlmCall]], R],
        outcome: Callable[[R], Awaitable[O]],
    ) -> O | None:
        envelope = entry.envelope
        claim = await self._journal.claim(
            envelope, record=entry.delivery.record.address, instance=self._instance
        )
        match claim:
            case None:
                self._open.pop(id(entry.delivery), None)
                return None
            case ResultStored(lease=lease, result=stored):
                entry.unsent = lease
                return _of_this_run(self._unpack(stored), envelope.replay)
            case Claimed(lease=lease):
                entry.request = working = request(lease, self._journal.former_calls(claim))
                result = await outcome(working)
                await self._journal.store(working, self._pack(result))
                entry.unsent = lease
                return result

    async def delivered(self, delivery: Delivery[Any]) -> None:
        """Note that the broker has the result."""
        entry = self._open.pop(id(delivery), None)
        if entry is not None and entry.unsent is not None:
            await self._journal.sent(entry.unsent)

    def envelope_of(self, delivery: Delivery[Any]) -> Envelope | None:
        """Return the envelope of an open delivery, as far as its work has brought it."""
        entry = self._open.get(id(delivery))
        if entry is None:
            return None
        return entry.envelope if entry.request is None else entry.request.envelope

    async def salvaged(self, delivery: Delivery[Any], envelope: Envelope, fault: BaseException) -> Envelope:
        """Return the envelope with every call that was made for a delivery which came to nothing.

        It is asked for before the sender is told of the failure, so that the spend is booked with it.
        Afterwards the journal knows the calls as they were booked, so that a replay books the same.
        """
        entry = self._open.pop(id(delivery), None)
        calls = await self._journal.salvaged(
            envelope.request_id,
            record=delivery.record.address,
            request=entry.request if entry else None,
            fault=fault,
        )
        return with_calls(envelope, calls)


def _of_this_run(outcome: O, replay: int) -> O:
    """Return a result that a former run has stored as this run's: it is settled under its number."""
    return msgspec.structs.replace(outcome, envelope=msgspec.structs.replace(outcome.envelope, replay=replay))

"""The cost stage: where every request ends. It settles the spend, replies once and logs once."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, disable_created_metrics

from agents.cost.settlement_records import ledger_entry, request_log, terminal_reply
from agents.intake.replies import reply_emit, webhook_emits
from agents.stage import Delivery, Record
from agents.worker_ports import WorkerPorts
from streams import pipeline
from streams.errors import StoreUnavailable
from streams.events import Envelope, LlmCall, OutcomeReached, Reply, Status, Timing
from streams.publisher import Emit
from streams.registry.entries import taken_out
from streams.registry.registry import RequestRegistry, Settlement
from streams.topics import LEDGER, LOGS

log = structlog.get_logger(__name__)

#: A quarter of an hour at 20 requests a second; 200 bytes each.
_MAX_STORED = 20_000
_MAX_UNSTORED = 5_000

T = TypeVar("T")
#: How long an outcome that may come from a redelivered record waits after the request's deadline: for Redis,
#: which knows whether the request has its answer; and for the outcome of the first delivery, which has the
#: calls that were made then. Within half a minute another worker has the records of a killed one, and Redis
#: is back. The wait for Redis also counts from when the outcome was written, because stages give up a minute
#: after the deadline.
_REDELIVERY_WAIT = timedelta(seconds=60)


class _Unstored(msgspec.Struct, frozen=True):
    """A reply that went out and is not in Redis, without its vectors, and the record that brought it."""

    record: str
    reply: Reply


class SentReplies:
    """Remembers the newest run of each request that was replied to from here; the oldest are forgotten.

    All outcomes of a request have the same key, so the same process reads them. While Redis is away, this
    memory recognises a second outcome. A reply that was sent without Redis is stored in Redis before the
    stage handles another outcome of its request. When the process ends, the memory is lost: then only Redis
    knows.
    """

    def __init__(self) -> None:
        self._stored: OrderedDict[str, int] = OrderedDict()
        self._unstored: OrderedDict[str, _Unstored] = OrderedDict()
        self._leaving: OrderedDict[str, Reply] = OrderedDict()

    def knows(self, envelope: Envelope) -> bool:
        """Whether this run of the request, or a later one, was replied to from here."""
        request_id, replay = envelope.request_id, envelope.replay
        unstored = self._unstored.get(request_id)
        return self._stored.get(request_id, -1) >= replay or (
            unstored is not None and unstored.reply.replay >= replay
        )

    def unstored(self, event: OutcomeReached, record: Record) -> Reply | None:
        """Return the reply of this run that is still to be stored; whole where `event` is what it came of."""
        found = self._unstored.get(event.envelope.request_id)
        if found is None or found.reply.replay != event.envelope.replay:
            return None
        return terminal_reply(event) if found.record == record.address else found.reply

    def note_leaving(self, reply: Reply, record: Record) -> None:
        """Note a reply that is handed to the broker without Redis. It counts once the broker has it."""
        _put(self._leaving, record.address, taken_out(reply)[0], _MAX_UNSTORED)

    def note_sent(self, record: Record) -> None:
        """Note that the broker has what came of a record."""
        reply = self._leaving.pop(record.address, None)
        if reply is not None:
            _put(self._unstored, reply.request_id, _Unstored(record.address, reply), _MAX_UNSTORED)

    def note_stored(self, envelope: Envelope) -> None:
        """Note that a reply to this run is out, and that Redis has it."""
        self._unstored.pop(envelope.request_id, None)
        _put(self._stored, envelope.request_id, envelope.replay, _MAX_STORED)


def _put(kept: OrderedDict[str, T], key: str, value: T, limit: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > limit:
        kept.popitem(last=False)


disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each that nobody reads


class CallCounts:
    """Counts the calls of settled requests by model, and those whose usage is an estimate, for `/metrics`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        booked = "Provider calls that were booked, by the model asked."
        estimated = "Booked calls whose usage the provider did not report."
        self._booked = Counter("headrace_calls_booked", booked, ["model"], registry=registry)
        self._estimated = Counter("headrace_calls_estimated", estimated, ["model"], registry=registry)

    def count(self, calls: Iterable[LlmCall]) -> None:
        """Count the calls of a request that is settled."""
        for call in calls:
            self._booked.labels(call.request_model).inc()
            self._estimated.labels(call.request_model).inc(call.usage.estimated)


@dataclass(eq=False)
class CostStage:
    """Books the spend and sends what leaves the pipeline.

    `store_text` tells whether the texts of requests and replies go into the log record, `text_by_tenant` the
    same of the tenants that differ.
    """

    spec = pipeline.COST

    registry: RequestRegistry
    _: KW_ONLY
    store_text: bool
    text_by_tenant: Mapping[str, bool] = field(default_factory=dict)
    counts: CallCounts = field(default_factory=CallCounts)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _sent: SentReplies = field(default_factory=SentReplies, init=False)

    async def handle(self, delivery: Delivery[OutcomeReached]) -> Sequence[Emit]:
        """Return replies, log record, ledger entry and webhook; nothing for a settled request.

        Where its reply went out while Redis was away, senders that joined the request get their copies now.

        Raises:
            StoreUnavailable: the registry does not answer.
            SpendPending: the request has spent money that this outcome does not know of.
        """
        started_at = self.clock()
        timed = _timed(delivery, started_at, started_at)
        settlement = await self._settle(timed, delivery.record, started_at)
        if settlement.done:
            return _copies(settlement.reply, settlement)
        finished_at = self.clock()
        event = _timed(delivery, started_at, finished_at)
        envelope = event.envelope
        self.counts.count(envelope.calls)
        reply = msgspec.structs.replace(settlement.reply, timings=envelope.timings)
        store_text = self.text_by_tenant.get(envelope.tenant, self.store_text)
        record = request_log(event, reply, finished_at=finished_at, store_text=store_text)
        emits = [reply_emit(reply, envelope.reply_to)]
        emits += _copies(reply, settlement)
        emits += webhook_emits(settlement.reply, envelope)
        emits.append(Emit.to(LOGS, record, key=envelope.request_id))
        if reply.cost_usd > Decimal(0):
            entry = ledger_entry(envelope, reply.cost_usd, finished_at)
            emits.append(Emit.to(LEDGER, entry, key=f"{envelope.tenant}:{envelope.user_id}"))
        return emits

    async def delivered(self, delivery: Delivery[OutcomeReached]) -> None:
        """Note that the replies are out: from now on a repeat of this event is dropped."""
        event, envelope = delivery.event, delivery.event.envelope
        self._sent.note_sent(delivery.record)
        if not await self.registry.finish_settle(envelope.request_id, replay=envelope.replay):
            # Redis was away when the reply was made: store it now, for those who ask again.
            first = self._sent.unstored(event, delivery.record)
            await self.registry.begin_settle(first or terminal_reply(event), tenant=envelope.tenant)
            await self.registry.finish_settle(envelope.request_id, replay=envelope.replay)
        self._sent.note_stored(envelope)

    async def _settle(self, event: OutcomeReached, record: Record, now: datetime) -> Settlement:
        envelope = event.envelope
        reply = terminal_reply(event)
        knows_spend = bool(envelope.calls)
        final = event.status is not Status.FAILED and knows_spend
        late = now >= envelope.deadline_at + (timedelta() if final else _REDELIVERY_WAIT)
        try:
            first = self._sent.unstored(event, record)
            if first is not None:
                stored = await self.registry.begin_settle(first, tenant=envelope.tenant)
                return Settlement(done=True, reply=stored.reply, waiters=stored.waiters)
            return await self.registry.begin_settle(
                reply, tenant=envelope.tenant, knows_spend=knows_spend or late
            )
        except StoreUnavailable:
            if self._sent.knows(envelope):
                return Settlement(done=True, reply=reply, waiters=())
            if not late or (not final and now < record.written_at + _REDELIVERY_WAIT):
                raise
            # Redis stays away and the sender waits: the reply matters more than to recognise repeats.
            log.warning("cost.unregistered_reply", request_id=envelope.request_id)
            self._sent.note_leaving(reply, record)
            return Settlement(done=False, reply=reply, waiters=())


def _copies(reply: Reply, settlement: Settlement) -> tuple[Emit, ...]:
    """Return the reply to everyone who has sent the same request again while it ran."""
    again = msgspec.structs.replace(reply, repeat=True)
    return tuple(reply_emit(again, waiter) for waiter in settlement.waiters)


def _timed(delivery: Delivery[OutcomeReached], started_at: datetime, finished_at: datetime) -> OutcomeReached:
    """Return the event with this stage's own timing: what the stage sends must already hold it."""
    event = delivery.event
    queued = started_at - delivery.record.arrived_at
    timing = Timing(
        stage=CostStage.spec.name,
        started_at=started_at,
        queue_us=max(0, queued // timedelta(microseconds=1)),
        work_us=(finished_at - started_at) // timedelta(microseconds=1),
        outcome=event.status.value,
    )
    timings = (*event.envelope.timings, timing)
    return msgspec.structs.replace(event, envelope=msgspec.structs.replace(event.envelope, timings=timings))


async def build(ports: WorkerPorts, _: AsyncExitStack) -> CostStage:
    """Return the stage; its counts are in the worker's metrics."""
    settings = ports.settings
    return CostStage(
        ports.registry,
        store_text=settings.store_text,
        text_by_tenant=settings.text_by_tenant,
        counts=CallCounts(ports.metrics),
    )

"""From the topic to the queue: a webhook's record is acknowledged once Redis has it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import KW_ONLY, dataclass

import structlog

from agents.runner.in_flight import RecordWork
from agents.runner.record_sender import RecordPublisher, RecordSender
from agents.stage import Record
from agents.webhooks.deliverer import Deliverer, DeliveryLimits, WebhookCounts
from agents.webhooks.posting import WebhookPoster
from agents.webhooks.queue import Added, Lane, WebhookQueue
from agents.worker_ports import WorkerPorts
from streams import codec, pipeline
from streams.backoff import retry
from streams.errors import HeadraceError, InputError, StoreUnavailable, UnauthenticRecord
from streams.events import WebhookDue
from streams.redelivery import dead_letter
from streams.tasks import cancel_and_wait
from streams.webhooks.signing import webhook_id
from streams.webhooks.targets import Targets

#: Time that one more try with Redis may take, for the watchdog.
_TRY_S = 30.0

log = structlog.get_logger(__name__)


class TooManyWaiting(HeadraceError):
    """Too many webhooks wait already: of this tenant, for this host, or in all."""


@dataclass(frozen=True)
class WebhookIntake:
    """Puts webhooks into the queue. Nothing is sent from here: no receiver can hold up the topic.

    `wait` returns False where the wait was cut short (see `agents.runner.relay.Drain`); `on_added` is called
    when there is something to send.
    """

    queue: WebhookQueue
    publisher: RecordPublisher
    _: KW_ONLY
    targets: Targets
    wait: Callable[[float], Awaitable[bool]]
    on_added: Callable[[], None]
    monotonic: Callable[[], float] = time.monotonic

    async def run(self, record: Record, work: RecordWork) -> bool:
        """Put a record into the queue or make it a dead letter, however long Redis is away.

        False means that neither was done: the partition is being taken away.
        """
        try:
            due, lane = self._read(record)
        except InputError as fault:
            await self._make_dead_letter(record, fault, work)
            return True
        added = await self._add(due, lane, record, work)
        if added is None:
            return False
        if added is Added.FULL:
            full = TooManyWaiting(f"too many webhooks wait, of this tenant, for {lane.host} or in all")
            await self._make_dead_letter(record, full, work)
        elif added is Added.ADDED:
            self.on_added()
        return True

    async def _add(self, due: WebhookDue, lane: Lane, record: Record, work: RecordWork) -> Added | None:
        """Add to the queue; None where the partition is taken away before Redis answers."""
        message_id = webhook_id(due.request_id, due.reply.replay)
        began_s = self.monotonic()

        def note(tries: int, fault: StoreUnavailable) -> None:
            log.warning("webhook.queue_unavailable", at=record.place, tries=tries, error=str(fault))
            work.may_take(self.monotonic() - began_s + _TRY_S)

        try:
            return await retry(
                lambda: self.queue.add(message_id, lane=lane, record=record),
                on=StoreUnavailable,
                on_failure=note,
                sleep=self.wait,
            )
        except StoreUnavailable:
            return None

    def _read(self, record: Record) -> tuple[WebhookDue, Lane]:
        """Return what a record asks for, and where it queues; `InputError` where nothing can be done."""
        if not record.authentic:
            raise UnauthenticRecord("Headrace has not written this record")
        due = codec.decode(record.value, WebhookDue, record.headers)
        return due, Lane.of(due.tenant, self.targets.check_url(due.url))

    async def _make_dead_letter(self, record: Record, fault: Exception, work: RecordWork) -> None:
        log.warning("webhook.dead_lettered", at=record.place, reason=str(fault))
        work.is_dead = True
        stage = pipeline.WEBHOOKS.name
        sender = RecordSender(self.publisher, stage=stage)
        await sender.send_all((dead_letter(record, stage=stage, fault=fault),))


async def webhook_intake(
    ports: WorkerPorts, wait: Callable[[float], Awaitable[bool]], resources: AsyncExitStack
) -> WebhookIntake:
    """Return what takes the records of the webhooks' topic, and begin to send what waits."""
    settings, counts = ports.settings, WebhookCounts()
    ports.metrics.register(counts)
    queue = WebhookQueue(
        ports.redis, max_bytes=settings.webhook_max_waiting_bytes, has_room=ports.memory.has_room
    )
    posts = WebhookPoster(
        settings.webhook_targets,
        timeout_s=settings.webhook_timeout_s,
        in_flight=settings.webhook_in_flight,
    )
    resources.push_async_callback(posts.close)
    limits = DeliveryLimits(
        in_flight=settings.webhook_in_flight,
        per_host=settings.webhook_per_host,
        attempts=settings.webhook_attempts,
        timeout_s=settings.webhook_timeout_s,
        dead_letter_s=settings.kafka_timeout_s,
    )
    deliverer = Deliverer(
        queue, posts, ports.publisher, keys=settings.webhook_keys, limits=limits, counts=counts
    )
    resources.push_async_callback(deliverer.settle)
    if settings.webhook_keys:  # without a secret nothing is sent, and what waits goes on waiting for one
        resources.push_async_callback(cancel_and_wait, asyncio.create_task(deliverer.run()))
    return WebhookIntake(
        queue, ports.publisher, targets=settings.webhook_targets, wait=wait, on_added=deliverer.wake
    )

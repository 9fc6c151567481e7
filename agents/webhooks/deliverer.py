"""Sends the webhooks that are due: a bounded number at once, and a bounded number of them to one host.

Neither a tenant nor a host ever has more than is free for the others. So receivers that hang, however many
they are, hold up nobody else.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import Never

import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.runner.record_sender import RecordPublisher
from agents.webhooks.posting import (
    DeliveryResult,
    Done,
    Rejected,
    RetryDelivery,
    TryLater,
    WebhookPoster,
    decide,
)
from agents.webhooks.queue import ClaimedWebhook, Lane, WebhookQueue
from streams import codec, pipeline
from streams.backoff import retry
from streams.errors import HeadraceError, StoreUnavailable, TransientFault, Undeliverable
from streams.events import WebhookDue
from streams.redelivery import dead_letter
from streams.registry.entries import reply_json
from streams.tasks import cancel_and_wait, event_within
from streams.webhooks.signing import signature

_OUTCOMES = ("delivered", "gone", "retried", "dead_lettered")


class WebhookCounts:
    """Counts tries by outcome, the webhooks being sent now, and the bytes that wait."""

    def __init__(self) -> None:
        self._outcomes = Counter[str]()
        self.in_flight = 0
        self.waiting_bytes = 0

    def count(self, outcome: str) -> None:
        """Count a try by its outcome."""
        self._outcomes[outcome] += 1

    def __getitem__(self, outcome: str) -> int:
        return self._outcomes[outcome]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. Every outcome has a sample from the start: a rate then sees its first count."""
        tries = CounterMetricFamily("headrace_webhooks", "Tries to deliver a webhook.", labels=["outcome"])
        for outcome in _OUTCOMES:
            tries.add_metric([outcome], self._outcomes[outcome])
        yield tries
        yield GaugeMetricFamily(
            "headrace_webhooks_in_flight", "Webhooks that are being sent.", value=self.in_flight
        )
        yield GaugeMetricFamily(
            "headrace_webhooks_waiting_bytes",
            "Bytes that wait in Redis, for all workers.",
            value=self.waiting_bytes,
        )


#: How often the queue is asked for webhooks that another worker has added, or that are due again.
_POLL_S = 0.5
_STORE_AWAY_S = 1.0
#: Time for noting the result, beyond that of the request; then the webhook may be claimed again.
_NOTE_S = 5.0
_TRIES_TO_NOTE = 4
#: How long a stop waits for responses. A webhook without one is sent again, under the same id.
_STOP_S = 3.0

#: How many lanes are remembered whose last try failed.
_MAX_AILING = 10_000

log = structlog.get_logger(__name__)


class WebhookFailed(HeadraceError):
    """A webhook could not be delivered, and is not tried again."""


class DeliveryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds the deliverer: how many webhooks are sent at once, how often, and time limits in seconds.

    `per_host` is of one tenant to one host; it is one where the last try failed.
    """

    in_flight: int
    per_host: int
    attempts: int
    timeout_s: float
    dead_letter_s: float


@dataclass(eq=False)
class Deliverer:
    """Claims webhooks that are due, sends them, and notes the result.

    A webhook that a worker had claimed when it died is claimed and sent again, under the same id. Bodies are
    signed with `keys`; `clock` returns Unix seconds.
    """

    queue: WebhookQueue
    posts: WebhookPoster
    publisher: RecordPublisher
    _: KW_ONLY
    keys: tuple[bytes, ...]
    limits: DeliveryLimits
    counts: WebhookCounts
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _lanes: Counter[Lane] = field(default_factory=Counter[Lane], init=False)
    _ailing: dict[Lane, None] = field(default_factory=dict, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def wake(self) -> None:
        """Look into the queue now: there is something new to send."""
        self._news.set()

    async def run(self) -> Never:
        """Send what is due, until it is cancelled."""
        while True:
            try:
                if await self.begin_next():
                    continue
            except StoreUnavailable as fault:
                log.warning("webhook.queue_unavailable", error=str(fault))
                await self.sleep(_STORE_AWAY_S)
            except Exception:
                # An entry that cannot be read is claimed for a while, and holds up nobody else.
                log.exception("webhook.loop_failed")
                await self.sleep(_STORE_AWAY_S)
            await event_within(self._news, _POLL_S)
            self._news.clear()

    async def begin_next(self) -> bool:
        """Begin with the next webhook that is due. Return whether there was one, and room for it."""
        if len(self._tasks) >= self.limits.in_flight:
            return False
        claimed = await self.queue.claim(lend_s=self.limits.timeout_s + _NOTE_S, busy=self._busy())
        if claimed is None:
            self.counts.waiting_bytes = self.queue.waiting_bytes
            return False
        self._lanes[claimed.lane] += 1
        task = asyncio.create_task(self._deliver(claimed))
        self._tasks.add(task)
        self.counts.in_flight = len(self._tasks)
        task.add_done_callback(lambda done: self._done(claimed.lane, done))
        return True

    async def settle(self) -> None:
        """Wait a few seconds for webhooks that are being sent, and cancel the rest."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_STOP_S)
            await cancel_and_wait(*late)

    def _done(self, lane: Lane, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.counts.in_flight = len(self._tasks)
        self._lanes[lane] -= 1
        if not self._lanes[lane]:
            del self._lanes[lane]
        if not task.cancelled() and (fault := task.exception()):
            log.error("webhook.abandoned", host=lane.host, error=repr(fault))
        self.wake()

    def _busy(self) -> list[str]:
        """Return the shares that may not have more webhooks in flight now."""
        free = self.limits.in_flight - len(self._tasks)
        crowds = Counter[str]()
        for lane, number in self._lanes.items():
            for crowd in lane.crowds:
                crowds[crowd] += number
        shares = {lane: 1 if lane in self._ailing else self.limits.per_host for lane in self._lanes}
        full = [lane.name for lane, number in self._lanes.items() if number >= shares[lane]]
        return full + [crowd for crowd, number in crowds.items() if number >= free]

    def _note_health(self, lane: Lane, answer: DeliveryResult) -> None:
        self._ailing.pop(lane, None)
        if isinstance(answer, TryLater):
            self._ailing[lane] = None
            if len(self._ailing) > _MAX_AILING:
                del self._ailing[next(iter(self._ailing))]

    async def _deliver(self, claimed: ClaimedWebhook) -> None:
        answer = await self._send(claimed)
        self._note_health(claimed.lane, answer)
        decision = decide(answer, claimed.attempt, attempts=self.limits.attempts, jitter=random.random)
        try:
            await self._note(claimed, decision)
        except TransientFault as fault:
            log.warning("webhook.not_noted", **_named(claimed), error=str(fault))

    async def _send(self, claimed: ClaimedWebhook) -> DeliveryResult:
        """Return the result of one try. A bug ends this webhook as a dead letter, and no other."""
        try:
            due = codec.decode(claimed.record.value, WebhookDue, claimed.record.headers)
            body = reply_json(due.reply)
            now_s = int(self.clock())
            signed = signature(self.keys, message_id=claimed.webhook_id, timestamp_s=now_s, body=body)
            headers = {
                "content-type": "application/json",
                "user-agent": "headrace-webhooks",
                "webhook-id": claimed.webhook_id,
                "webhook-timestamp": str(now_s),
                "webhook-signature": signed,
            }
            return await self.posts.post(due.url, body, headers)
        except Exception as fault:
            log.exception("webhook.broken", **_named(claimed))
            return Rejected(f"{type(fault).__name__}: {fault}")

    async def _note(self, claimed: ClaimedWebhook, decision: Done | Rejected | RetryDelivery) -> None:
        match decision:
            case RetryDelivery(delay_s, reason):
                await self._insist(lambda: self.queue.postpone(claimed, delay_s))
                self.counts.count("retried")
                log.info("webhook.retried", **_named(claimed), reason=reason, again_in_s=round(delay_s, 1))
            case Done(outcome):
                self.counts.count(outcome)
                log.info("webhook.ended", **_named(claimed), outcome=outcome)
                await self._insist(lambda: self.queue.end(claimed))
            case Rejected(reason):
                await self._make_dead_letter(claimed, reason)

    async def _make_dead_letter(self, claimed: ClaimedWebhook, reason: str) -> None:
        """Keep the webhook as a dead letter; if the broker is away, after a while."""
        await self._insist(lambda: self.queue.postpone(claimed, self.limits.dead_letter_s + _NOTE_S))
        letter = dead_letter(claimed.record, stage=pipeline.WEBHOOKS.name, fault=WebhookFailed(reason))
        try:
            await self.publisher.publish(letter)
        except Undeliverable as fault:
            log.error("webhook.undeliverable", **_named(claimed), error=str(fault))  # noqa: TRY400  # no bug
        self.counts.count("dead_lettered")
        log.warning("webhook.dead_lettered", **_named(claimed), reason=reason)
        await self._insist(lambda: self.queue.end(claimed))

    async def _insist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Try a step in Redis a few times. Where Redis stays away, the webhook's lease runs out."""
        await retry(step, on=StoreUnavailable, attempts=_TRIES_TO_NOTE, sleep=self.sleep)


def _named(claimed: ClaimedWebhook) -> dict[str, object]:
    """Return a webhook's fields for the log, without its URL, which may hold a secret of its receiver."""
    key = claimed.record.key
    return {
        "webhook_id": claimed.webhook_id,
        "request_id": key.decode(errors="replace") if key else None,
        "host": claimed.lane.host,
        "attempt": claimed.attempt,
    }

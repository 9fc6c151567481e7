"""Builds what fills the queue of webhooks, and starts what empties it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from agents.webhooks.counts import WebhookCounts
from agents.webhooks.deliverer import Deliverer, DeliveryLimits
from agents.webhooks.intake import WebhookIntake
from agents.webhooks.posting import WebhookPoster
from agents.webhooks.queue import WebhookQueue
from agents.worker_ports import WorkerPorts
from streams.tasks import cancel_and_wait


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

"""Puts the webhooks of a worker together: what fills the queue, and what empties it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from redis.asyncio import Redis

from agents.pipeline import WEBHOOKS
from agents.runner.apps import StageApp
from agents.runner.relay import Drain
from agents.webhooks import intake
from agents.webhooks.counts import WebhookCounts
from agents.webhooks.deliverer import Deliverer, Limits
from agents.webhooks.intake import WebhookIntake
from agents.webhooks.posting import HttpPosts
from agents.webhooks.queue import WebhookQueue
from streams.publisher import Publisher
from streams.redis.memory import HasRoom
from streams.settings import Settings


async def webhooks_app(
    settings: Settings,
    *,
    redis: Redis,
    has_room: HasRoom,
    publisher: Publisher,
    counts: WebhookCounts,
    resources: AsyncExitStack,
    now: Callable[[], float],
) -> StageApp:
    """Return the consumer of the webhooks' topic, and begin to send what waits.

    Args:
        settings: of this installation.
        redis: where webhooks wait.
        has_room: whether it has memory for more of them.
        publisher: for dead letters.
        counts: where outcomes are counted.
        resources: ends what is begun here.
        now: the watch's clock, in seconds.
    """
    queue = WebhookQueue(redis, max_bytes=settings.webhook_max_waiting_bytes, has_room=has_room)
    deliverer = await _deliverer(settings, queue, publisher, counts, resources)
    drain = Drain()
    runner = WebhookIntake(
        queue,
        publisher,
        targets=settings.webhook_targets,
        wait=drain.wait,
        on_added=deliverer.wake,
    )
    return StageApp(
        WEBHOOKS,
        intake.SOURCE,
        runner.run,
        settings,
        in_flight=settings.stage_in_flight,
        now=now,
        on_drain=drain.begin,
        on_assigned=drain.end,
    )


async def _deliverer(
    settings: Settings,
    queue: WebhookQueue,
    publisher: Publisher,
    counts: WebhookCounts,
    resources: AsyncExitStack,
) -> Deliverer:
    posts = HttpPosts(
        settings.webhook_targets,
        timeout_s=settings.webhook_timeout_s,
        in_flight=settings.webhook_in_flight,
    )
    resources.push_async_callback(posts.close)
    deliverer = Deliverer(
        queue,
        posts,
        publisher,
        keys=settings.webhook_keys,
        limits=Limits(
            in_flight=settings.webhook_in_flight,
            per_host=settings.webhook_per_host,
            attempts=settings.webhook_attempts,
            timeout_s=settings.webhook_timeout_s,
            bury_s=settings.kafka_timeout_s,
        ),
        counts=counts,
    )
    resources.push_async_callback(deliverer.settle)
    if settings.webhook_keys:  # without a secret, what waits from before goes on waiting for one
        running = asyncio.create_task(deliverer.run())
        resources.push_async_callback(_end, deliverer, running)
    return deliverer


async def _end(deliverer: Deliverer, running: asyncio.Task[None]) -> None:
    """End the loop before its connections are closed; a claim that is on its way is waited for."""
    deliverer.finish()
    running.cancel()
    await asyncio.wait((running,))

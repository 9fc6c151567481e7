"""The webhooks of a worker, put together: from the queue to a receiver, without Kafka."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from agents.prompts import PromptCatalogue
from agents.runner.relay import Drain
from agents.stores.answer_cache import AnswerCache
from agents.webhooks.intake import webhook_intake
from agents.webhooks.queue import Lane, WebhookQueue
from agents.worker_ports import Loaded, WorkerPorts
from streams.control.catalogue import LiveCatalogue
from streams.control.follower import ControlFollower
from streams.publisher import Publisher
from streams.redis import connection
from streams.redis.memory import MemoryWatch
from streams.registry.registry import RequestRegistry
from streams.settings import load_settings
from tests.agents.webhooks.due import due, due_record
from tests.fakes.receiver import HANG, receiving

pytestmark = pytest.mark.integration

_LANE = Lane.of("acme", "127.0.0.1")
SECRET = "whsec_" + "QUJD" * 8


async def wire(redis: Redis, resources: AsyncExitStack, **given: Any) -> CollectorRegistry:
    settings = load_settings(
        kafka_bootstrap="127.0.0.1:1",
        redis_url="unused",
        clickhouse_url="unused",
        _env_file=None,
        webhook_allow_http=True,
        webhook_allow_networks=("127.0.0.0/8",),
        **given,
    )
    metrics = CollectorRegistry()
    ports = WorkerPorts(
        settings=settings,
        control=ControlFollower("127.0.0.1:1", client_id="test", timeout_s=1),
        models=LiveCatalogue(),
        loaded=Loaded(),
        redis=redis,
        memory=MemoryWatch(redis),
        publisher=Publisher("127.0.0.1:1", client_id="test"),
        registry=RequestRegistry(redis, ttl_s=1),
        cache=AnswerCache(redis, ttl_s=1, max_entries=1),
        prompts=PromptCatalogue(),
        metrics=metrics,
    )
    await webhook_intake(ports, Drain().wait, resources)
    return metrics


def tries(metrics: CollectorRegistry, outcome: str) -> float | None:
    return metrics.get_sample_value("headrace_webhooks_total", {"outcome": outcome})


async def add(redis: Redis, url: str) -> None:
    for key in await redis.keys("headrace:webhooks:*"):
        await redis.delete(key)
    await WebhookQueue(redis, max_bytes=100_000).add("m-1", lane=_LANE, record=due_record(due(url)))


async def test_what_waits_is_sent_as_soon_as_a_worker_is_there(redis_url: str) -> None:
    """Whichever worker had added it."""
    redis = connection.connect(redis_url, timeout_s=30)
    with receiving() as receiver:
        await add(redis, receiver.url())
        async with AsyncExitStack() as resources, asyncio.timeout(20):
            metrics = await wire(redis, resources, webhook_secret=SECRET)
            while not tries(metrics, "delivered"):
                await asyncio.sleep(0.01)
        assert [got.webhook_id for got in receiver.got] == ["m-1"]
    await redis.aclose()


async def test_a_worker_ends_though_a_receiver_hangs(redis_url: str) -> None:
    """After seconds, and leaves it to another worker."""
    redis = connection.connect(redis_url, timeout_s=30)
    with receiving() as receiver:
        receiver.script = lambda got, before: HANG
        await add(redis, receiver.url())
        async with asyncio.timeout(20):
            async with AsyncExitStack() as resources:
                metrics = await wire(redis, resources, webhook_secret=SECRET)
                while not receiver.got:
                    await asyncio.sleep(0.01)
        assert (tries(metrics, "delivered"), tries(metrics, "retried")) == (0, 0)
        assert metrics.get_sample_value("headrace_webhooks_in_flight") == 0
    assert await redis.exists("headrace:webhooks:entry:m-1")
    await redis.aclose()


async def test_without_a_secret_nothing_is_sent_unsigned(redis_url: str) -> None:
    """What waits from before goes on waiting: nobody is there to claim it."""
    redis = connection.connect(redis_url, timeout_s=30)
    await add(redis, "http://127.0.0.1:1/")
    before = asyncio.all_tasks()
    async with AsyncExitStack() as resources:
        await wire(redis, resources)
        assert asyncio.all_tasks() == before
    assert await redis.zscore("headrace:webhooks:tenants", _LANE.tenant)
    await redis.aclose()

"""The connections and stores that the stages of one worker share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from agents.loading import Loaded
from agents.prompts import PromptCatalogue
from agents.stores.answer_cache import AnswerCache
from streams.kafka.record_auth import RecordAuth
from streams.publisher import Publisher
from streams.redis import connection
from streams.redis.memory import MemoryWatch
from streams.registry.registry import RequestRegistry
from streams.settings import Settings


class WorkerPorts(msgspec.Struct, frozen=True, kw_only=True):
    """What the stages of a worker share. What only one stage needs is made where the stage is built."""

    settings: Settings
    loaded: Loaded
    redis: Redis
    memory: MemoryWatch
    publisher: Publisher
    registry: RequestRegistry
    cache: AnswerCache
    prompts: PromptCatalogue
    metrics: CollectorRegistry


@asynccontextmanager
async def open_ports(
    settings: Settings, loaded: Loaded, metrics: CollectorRegistry
) -> AsyncIterator[WorkerPorts]:
    """Connect to Kafka and Redis while the block runs.

    Args:
        settings: of this installation.
        loaded: what is loaded already.
        metrics: what the worker's /metrics shows.

    Raises:
        ConfigurationError: Redis refuses the password.
        KafkaUnavailable: no broker answered.
    """
    redis = connection.connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
    publisher = Publisher(
        settings.kafka_bootstrap,
        client_id=settings.instance_id,
        timeout_s=settings.kafka_timeout_s,
        auth=RecordAuth.from_settings(settings),
    )
    memory = MemoryWatch(redis)
    cache = AnswerCache(
        redis,
        ttl_s=settings.cache_ttl_s,
        max_entries=settings.cache_max_entries,
        has_room=memory.has_room_to_spare,
    )
    memory.make_room = cache.shrink
    registry = RequestRegistry(
        redis,
        ttl_s=settings.registry_ttl_s,
        vectors_ttl_s=settings.embedding_ttl_s,
        has_room=memory.has_room,
        keeps_vectors=memory.has_room_to_spare,
    )
    try:
        async with memory, publisher:
            yield WorkerPorts(
                settings=settings,
                loaded=loaded,
                redis=redis,
                memory=memory,
                publisher=publisher,
                registry=registry,
                cache=cache,
                prompts=PromptCatalogue(),
                metrics=metrics,
            )
    finally:
        await redis.aclose()

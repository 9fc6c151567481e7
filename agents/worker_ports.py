"""The connections and stores that the stages of one worker share."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from agents.checks.injection.scanner import find_injection
from agents.embeddings.minilm import MiniLmEmbedder
from agents.prompts import PromptCatalogue
from agents.stores.answer_cache import AnswerCache
from streams.control.catalogue import LiveCatalogue, ModelCatalogue
from streams.control.follower import ControlFollower
from streams.control.state import ControlState
from streams.errors import ConfigurationError
from streams.kafka.record_auth import RecordAuth
from streams.publisher import Publisher
from streams.redis import connection
from streams.redis.memory import MemoryWatch
from streams.registry.registry import RequestRegistry
from streams.settings import Settings
from streams.tasks import event_within

#: A control record is live within so many seconds: a transaction that was committed shows a little later.
_LIVE_S = 2.0

log = structlog.get_logger(__name__)


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was loaded. `embedder` is None where the settings want none, or it is loaded when it is needed."""

    embedder: MiniLmEmbedder | None = None


def load_all(settings: Settings) -> Loaded:
    """Load everything at once, for a worker that waits to take over. Takes under a second of processor time.

    Raises:
        ConfigurationError: the embedding model is not installed.
    """
    find_injection("")  # compiles the rules
    return Loaded(embedder=None if settings.embeddings == "off" else MiniLmEmbedder.load())


def wait_for_word(descriptor: int) -> bool:
    """Wait for one byte; False where the other end is closed without one."""
    try:
        return bool(os.read(descriptor, 1))
    finally:
        os.close(descriptor)


async def embedder_of(settings: Settings, loaded: Loaded) -> MiniLmEmbedder | None:
    """Return the embedder, loading it in a thread where that is not done; None where none is wanted."""
    if loaded.embedder is not None or settings.embeddings == "off":
        return loaded.embedder
    return await asyncio.to_thread(MiniLmEmbedder.load)


async def default_model_seen(settings: Settings, control: ControlFollower, models: LiveCatalogue) -> None:
    """Wait for the default model, as long as a record that was just written may take to be read."""
    seen = asyncio.Event()

    def look(_state: ControlState) -> None:
        if models.current.chat_model(settings.default_model) is not None:
            seen.set()

    control.subscribe(look)
    await event_within(seen, _LIVE_S)


def check_models(settings: Settings, catalogue: ModelCatalogue) -> None:
    """Check the models that settings name. Unknown fallbacks are left out as long as there is no record.

    Raises:
        ConfigurationError: the default model does not exist.
    """
    known = ", ".join(sorted(catalogue.chat))
    if catalogue.chat_model(settings.default_model) is None:
        raise ConfigurationError(
            f"HEADRACE_DEFAULT_MODEL: unknown model {settings.default_model!r}; known models: {known}. Apply "
            "a control record for it first, or name another"
        )
    if unknown := [name for name in settings.fallback_models if catalogue.chat_model(name) is None]:
        log.error("worker.unknown_fallback_models", models=unknown, known=known)


class WorkerPorts(msgspec.Struct, frozen=True, kw_only=True):
    """What the stages of a worker share. What only one stage needs is made where the stage is built.

    `models` follows `control`.
    """

    settings: Settings
    control: ControlFollower
    models: LiveCatalogue
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

    Raises:
        ConfigurationError: Redis refuses the password, or the default model is in no control record.
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
    control = ControlFollower.of(settings, client_id=settings.instance_id)
    models = LiveCatalogue()
    try:
        async with memory, publisher, control:
            control.subscribe(models.follow)
            await default_model_seen(settings, control, models)
            check_models(settings, models.current)
            yield WorkerPorts(
                settings=settings,
                control=control,
                models=models,
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

"""Builds the cache stage."""

from contextlib import AsyncExitStack

from agents.cache.stage import CacheSettings, CacheStage
from agents.checks.output_policy import OutputPolicy
from agents.loading import embedder_of
from agents.worker_ports import WorkerPorts


async def build(ports: WorkerPorts, resources: AsyncExitStack) -> CacheStage:
    """Return the stage, with its embedding model loaded."""
    settings = ports.settings
    embedder = await embedder_of(settings, ports.loaded)
    if embedder is not None:
        resources.callback(embedder.close)
    return CacheStage(
        CacheSettings(
            threshold=settings.cache_threshold,
            default_model=settings.default_model,
            default_max_tokens=settings.default_max_tokens,
            max_temperature=settings.cache_max_temperature,
            checked_by=OutputPolicy.from_settings(settings).fingerprint,
        ),
        ports.prompts,
        ports.cache,
        embedder,
    )

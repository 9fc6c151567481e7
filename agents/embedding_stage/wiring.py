"""Builds the embeddings stage."""

from contextlib import AsyncExitStack

from agents.checks import pii
from agents.embedding_stage.stage import EmbeddingsStage
from agents.intake.intake import Intake
from agents.paid_calls.call_policy import CallPolicy
from agents.paid_calls.ports import CallPorts
from agents.providers.configured import configured_embedders
from agents.stores.journal import Journal
from agents.worker_ports import WorkerPorts
from streams.request_rules.embeddings import EmbeddingLimits


async def build(ports: WorkerPorts, resources: AsyncExitStack) -> EmbeddingsStage:
    """Return the stage, with a client for each configured provider."""
    settings = ports.settings
    providers = configured_embedders(settings)
    for provider in providers.values():
        resources.push_async_callback(provider.aclose)
    return EmbeddingsStage(
        intake=Intake(
            ports.registry,
            has_topic=ports.publisher.has,
            reply_topics=settings.reply_topics,
            default_deadline_ms=settings.default_deadline_ms,
        ),
        providers=providers,
        redact=pii.redact,
        limits=EmbeddingLimits.from_settings(settings),
        policy=CallPolicy.from_settings(settings),
        ports=CallPorts(journal=Journal(ports.redis, ttl_s=settings.registry_ttl_s)),
    )

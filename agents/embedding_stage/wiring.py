"""Builds the embeddings stage."""

import asyncio
import random
import uuid
from contextlib import AsyncExitStack

from agents.checks import pii
from agents.embedding_stage.attempts import Attempts
from agents.embedding_stage.stage import EmbeddingsStage
from agents.intake.intake import Intake
from agents.paid_calls.circuit_breaker import Circuits
from agents.paid_calls.policy import LlmPolicy
from agents.paid_calls.ports import SystemClock
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
    journal, clock = Journal(ports.redis, ttl_s=settings.registry_ttl_s), SystemClock()
    policy = LlmPolicy.from_settings(settings)
    return EmbeddingsStage(
        intake=Intake(
            ports.registry,
            has_topic=ports.publisher.has,
            reply_topics=settings.reply_topics,
            default_deadline_ms=settings.default_deadline_ms,
        ),
        attempts=Attempts(
            providers=providers,
            circuits=Circuits(threshold=policy.breaker_threshold, reset_s=policy.breaker_reset_s),
            journal=journal,
            clock=clock,
            new_call_id=lambda: str(uuid.uuid4()),
            random=random.random,
            policy=policy,
            pause=asyncio.sleep,
        ),
        journal=journal,
        redact=pii.redact,
        limits=EmbeddingLimits.from_settings(settings),
        instance=settings.instance_id,
        clock=clock,
    )

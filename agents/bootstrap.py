"""Wires a worker: the one place that knows which stage gets which port."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis

from agents.cache.stage import CacheSettings, CacheStage
from agents.cost.stage import CostStage
from agents.embeddings import Embedder
from agents.embeddings.minilm import MiniLmEmbedder
from agents.embeddings.recent import RecentEmbeddings
from agents.guardrail import injection, pii
from agents.guardrail.stage import Finding, GuardrailSettings, GuardrailStage, Redacted
from agents.guardrail.validation import Limits
from agents.llm.policy import LlmPolicy
from agents.llm.stage import LlmStage
from agents.output.context import answer_context
from agents.output.stage import OutputStage
from agents.output.streaming_guard import StreamingGuard
from agents.prompts.catalogue import PromptCatalogue
from agents.providers.configured import configured_providers
from agents.providers.port import Provider
from agents.runner.apps import StageApp, run_apps
from agents.runner.dead_letters import DeadLetters
from agents.runner.execution import StageRunner
from agents.stage import Stage
from agents.stores.answer_cache import AnswerCache
from agents.stores.journal import Journal
from streams import store
from streams.events import CacheMissed
from streams.models import ProviderName
from streams.publisher import Publisher
from streams.registry import RequestRegistry
from streams.settings import Settings

log = structlog.get_logger(__name__)


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """What the stages of a worker share. What only one stage needs is made where that stage is."""

    settings: Settings
    redis: Redis
    publisher: Publisher
    registry: RequestRegistry
    cache: AnswerCache
    prompts: PromptCatalogue


async def run_worker(
    settings: Settings, stages: Sequence[str], *, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Run the named stages until SIGTERM or SIGINT.

    Args:
        settings: of this installation.
        stages: names from `agents.pipeline.STAGES`.
        on_ready: called once every stage has its partitions.
    """
    async with AsyncExitStack() as resources:
        ports = await resources.enter_async_context(_ports(settings))
        apps = []
        for name in stages:
            stage = await _BUILDERS[name](ports, resources)
            apps.append(StageApp(_runner(stage, ports), settings, in_flight=_in_flight(name, settings)))
        await run_apps(apps, on_ready=on_ready)


@asynccontextmanager
async def _ports(settings: Settings) -> AsyncIterator[Ports]:
    redis = store.connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
    publisher = Publisher(
        settings.kafka_bootstrap, client_id=settings.instance_id, timeout_s=settings.kafka_timeout_s
    )
    try:
        async with publisher:
            yield Ports(
                settings=settings,
                redis=redis,
                publisher=publisher,
                registry=RequestRegistry(redis, ttl_s=settings.registry_ttl_s),
                cache=AnswerCache(redis, ttl_s=settings.cache_ttl_s, max_entries=settings.cache_max_entries),
                prompts=PromptCatalogue(),
            )
    finally:
        await redis.aclose()


def _runner(stage: Stage[Any], ports: Ports) -> StageRunner:
    settings = ports.settings
    dead_letters = DeadLetters(
        reply_topics=settings.reply_topics, default_deadline_ms=settings.default_deadline_ms
    )
    return StageRunner(stage, ports.publisher, dead_letters, default_deadline_ms=settings.default_deadline_ms)


def _in_flight(stage: str, settings: Settings) -> int:
    return {"guardrail": settings.guardrail_in_flight, "llm": settings.llm_in_flight}.get(
        stage, settings.stage_in_flight
    )


async def _guardrail(ports: Ports, resources: AsyncExitStack) -> GuardrailStage:  # noqa: ARG001  # one shape
    settings = ports.settings
    await asyncio.to_thread(injection.check, "")  # compiles the rules, before the first request waits for it
    return GuardrailStage(
        GuardrailSettings(
            limits=Limits(
                max_input_tokens=settings.max_input_tokens,
                max_output_tokens=settings.max_tokens_per_request,
                max_request_bytes=settings.max_body_bytes,
            ),
            default_deadline_ms=settings.default_deadline_ms,
            reply_topics=settings.reply_topics,
        ),
        ports.registry,
        has_topic=ports.publisher.has,
        scan=scan,
        redact=redact,
    )


def scan(text: str) -> Finding | None:
    """Return why a text is blocked as an injection, or None."""
    verdict = injection.check(text)
    if verdict.passed:
        return None
    return Finding(rule=str(verdict.rule), reason="Potential prompt injection detected")


def redact(text: str) -> Redacted:
    """Replace the personal data in a text by its labels."""
    redaction = pii.redact(text)
    return Redacted(text=redaction.text, types=redaction.types)


async def _cache(ports: Ports, resources: AsyncExitStack) -> CacheStage:
    settings = ports.settings
    return CacheStage(
        CacheSettings(
            threshold=settings.cache_threshold,
            default_model=settings.default_model,
            default_max_tokens=settings.default_max_tokens,
        ),
        ports.prompts,
        ports.cache,
        await _embedder(settings, resources),
    )


async def _embedder(settings: Settings, resources: AsyncExitStack) -> Embedder | None:
    if settings.embeddings == "off":
        return None
    local = await asyncio.to_thread(MiniLmEmbedder.load)
    resources.callback(local.close)
    return RecentEmbeddings(local)


async def _llm(ports: Ports, resources: AsyncExitStack) -> LlmStage:
    settings = ports.settings
    providers: Mapping[ProviderName, Provider] = configured_providers(settings)
    for provider in providers.values():
        resources.push_async_callback(provider.aclose)

    def guard(event: CacheMissed) -> StreamingGuard:
        return answer_context(event.envelope, event.messages, ports.prompts).streaming_guard()

    return LlmStage(
        providers=providers,
        journal=Journal(ports.redis, ttl_s=settings.registry_ttl_s),
        deltas=ports.publisher,
        guards=guard,
        policy=LlmPolicy.from_settings(settings),
    )


async def _output(ports: Ports, resources: AsyncExitStack) -> OutputStage:  # noqa: ARG001  # one shape
    return OutputStage(ports.prompts, ports.cache)


async def _cost(ports: Ports, resources: AsyncExitStack) -> CostStage:  # noqa: ARG001  # one shape
    return CostStage(ports.registry, store_text=ports.settings.store_text)


_BUILDERS: Mapping[str, Callable[[Ports, AsyncExitStack], Any]] = {
    "guardrail": _guardrail,
    "cache": _cache,
    "llm": _llm,
    "output": _output,
    "cost": _cost,
}

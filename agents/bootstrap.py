"""Wires a worker: the one place that knows which stage gets which port."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis

from agents.cache.stage import CacheSettings, CacheStage
from agents.checks import pii
from agents.checks.injection import scanner
from agents.checks.json_texts import Redacted
from agents.cost.counts import CallCounts
from agents.cost.stage import CostStage
from agents.embedding_stage.stage import EmbeddingsStage
from agents.embeddings import Embedder
from agents.embeddings.recent import RecentEmbeddings
from agents.guardrail.stage import Finding, GuardrailSettings, GuardrailStage
from agents.guardrail.validation import Limits
from agents.intake.intake import Intake
from agents.llm.settings import LlmSettings
from agents.llm.stage import LlmStage
from agents.loading import Loaded, embedder_of
from agents.output.context import answer_context
from agents.output.stage import OutputStage
from agents.output.streaming_guard import StreamingGuard
from agents.output.verdict import OutputPolicy
from agents.paid_calls.policy import CallPolicy
from agents.paid_calls.ports import CallPorts
from agents.pipeline import RELAY, WEBHOOKS
from agents.prompts.catalogue import PromptCatalogue
from agents.providers.configured import configured_embedders, configured_providers
from agents.providers.provider import Provider
from agents.runner import relay
from agents.runner.apps import REBALANCE_TIMEOUT_S, StageApp
from agents.runner.dead_letters import DeadLetters
from agents.runner.execution import StageRunner
from agents.runner.probes import serve_probes
from agents.runner.relay import Drain, Relay
from agents.runner.retries import RetryPolicy
from agents.runner.watchdog.end_offsets import BrokerEnds
from agents.runner.watchdog.watchdog import WatchClock, Watchdog
from agents.runner.worker import run_apps
from agents.stage import Stage
from agents.stores.answer_cache import AnswerCache
from agents.stores.journal import Journal
from agents.webhooks.counts import WebhookCounts
from agents.webhooks.wiring import webhooks_app
from streams.errors import ConfigurationError
from streams.events import CacheMissed
from streams.kafka.record_auth import RecordAuth
from streams.models import ProviderName
from streams.publisher import Publisher
from streams.redis import connection
from streams.redis.memory import MemoryWatch
from streams.registry.registry import RequestRegistry
from streams.request_rules.embeddings import EmbeddingLimits
from streams.settings import Settings

log = structlog.get_logger(__name__)


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """What the stages of a worker share. What only one stage needs is made where that stage is."""

    settings: Settings
    loaded: Loaded
    redis: Redis
    memory: MemoryWatch
    publisher: Publisher
    registry: RequestRegistry
    cache: AnswerCache
    prompts: PromptCatalogue
    webhooks: WebhookCounts
    calls: CallCounts


async def run_worker(
    settings: Settings,
    consumers: Sequence[str],
    *,
    loaded: Loaded | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the named consumers until SIGTERM or SIGINT.

    Args:
        settings: of this installation.
        consumers: names from `agents.pipeline.CONSUMERS`.
        loaded: what is loaded already.
        on_ready: called once every consumer has its partitions.

    Raises:
        ConfigurationError: settings that do not fit together, a port that is taken, or Redis refuses us.
        WorkerStalled: a consumer made no progress; the process should be started again.
    """
    check_budget(settings)
    clock = WatchClock()
    ends = BrokerEnds(settings.kafka_bootstrap, timeout_s=settings.kafka_timeout_s)
    watchdog = Watchdog(clock, ask_ends=ends, stall_timeout_s=settings.stall_timeout_s)
    webhooks, calls = WebhookCounts(), CallCounts()
    async with AsyncExitStack() as resources:
        await resources.enter_async_context(
            serve_probes(
                watchdog,
                host=settings.worker_host,
                port=settings.worker_port,
                collectors=(webhooks, calls),
            )
        )
        ports = await resources.enter_async_context(_ports(settings, loaded or Loaded(), webhooks, calls))
        apps = [await _app(name, ports, resources, clock) for name in consumers]
        await run_apps(apps, watchdog=watchdog, stall_timeout_s=settings.stall_timeout_s, on_ready=on_ready)


def check_budget(settings: Settings) -> None:
    """Check that a drain can end by itself before the broker evicts the member.

    What a stage has in hand is put aside after `retry_in_place_s`, and that send must fit into the drain.
    Only the LLM and embeddings stages may need longer, for an answer that is on its way: what they have not
    finished by then is delivered again, and its call booked as orphaned.

    Raises:
        ConfigurationError: which settings do not fit, and how they must.
    """
    needed_s = settings.retry_in_place_s + settings.kafka_timeout_s
    if not needed_s < settings.drain_timeout_s < REBALANCE_TIMEOUT_S:
        raise ConfigurationError(
            f"HEADRACE_DRAIN_TIMEOUT_S is {settings.drain_timeout_s:g}; it must be above "
            f"HEADRACE_RETRY_IN_PLACE_S + HEADRACE_KAFKA_TIMEOUT_S ({needed_s:g}) and below "
            f"{REBALANCE_TIMEOUT_S:g}"
        )
    if settings.stall_timeout_s <= needed_s:
        raise ConfigurationError(
            f"HEADRACE_STALL_TIMEOUT_S is {settings.stall_timeout_s:g}; it must be above "
            f"HEADRACE_RETRY_IN_PLACE_S + HEADRACE_KAFKA_TIMEOUT_S ({needed_s:g})"
        )


async def _app(name: str, ports: Ports, resources: AsyncExitStack, clock: WatchClock) -> StageApp:
    if name == RELAY:
        return _relay_app(ports, clock)
    if name == WEBHOOKS:
        return await webhooks_app(
            ports.settings,
            redis=ports.redis,
            has_room=ports.memory.has_room,
            publisher=ports.publisher,
            counts=ports.webhooks,
            resources=resources,
            now=clock,
        )
    runner = _runner(await _BUILDERS[name](ports, resources), ports)
    return StageApp(
        name,
        runner.stage.source,
        runner.run,
        ports.settings,
        in_flight=_in_flight(name, ports.settings),
        now=clock,
    )


def _relay_app(ports: Ports, clock: WatchClock) -> StageApp:
    settings = ports.settings
    drain = Drain()
    runner = Relay(
        ports.publisher,
        _dead_letters(settings),
        wait=drain.wait,
        max_delay_s=settings.retry_max_delay_s,
    )
    return StageApp(
        RELAY,
        relay.SOURCE,
        runner.run,
        settings,
        in_flight=settings.stage_in_flight,
        now=clock,
        on_drain=drain.begin,
        on_assigned=drain.end,
    )


@asynccontextmanager
async def _ports(
    settings: Settings, loaded: Loaded, webhooks: WebhookCounts, calls: CallCounts
) -> AsyncIterator[Ports]:
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
    try:
        async with memory, publisher:
            yield Ports(
                settings=settings,
                loaded=loaded,
                redis=redis,
                memory=memory,
                publisher=publisher,
                registry=RequestRegistry(
                    redis,
                    ttl_s=settings.registry_ttl_s,
                    vectors_ttl_s=settings.embedding_ttl_s,
                    has_room=memory.has_room,
                    keeps_vectors=memory.has_room_to_spare,
                ),
                cache=cache,
                prompts=PromptCatalogue(),
                webhooks=webhooks,
                calls=calls,
            )
    finally:
        await redis.aclose()


def _runner(stage: Stage[Any], ports: Ports) -> StageRunner:
    settings = ports.settings
    return StageRunner(
        stage,
        ports.publisher,
        _dead_letters(settings),
        retry=RetryPolicy.from_settings(settings),
        default_deadline_ms=settings.default_deadline_ms,
        until_deadline=stage.name in (LlmStage.name, EmbeddingsStage.name),
        knows=ports.registry.knows,
    )


def _dead_letters(settings: Settings) -> DeadLetters:
    return DeadLetters(reply_topics=settings.reply_topics, default_deadline_ms=settings.default_deadline_ms)


def _in_flight(stage: str, settings: Settings) -> int:
    return {
        "guardrail": settings.guardrail_in_flight,
        "llm": settings.llm_in_flight,
        "embeddings": settings.embedding_in_flight,
    }.get(stage, settings.stage_in_flight)


async def _guardrail(ports: Ports, resources: AsyncExitStack) -> GuardrailStage:  # noqa: ARG001  # one shape
    settings = ports.settings
    await asyncio.to_thread(scanner.check, "")  # compiles the rules, before the first request waits for it
    return GuardrailStage(
        GuardrailSettings(
            limits=Limits(
                max_input_tokens=settings.max_input_tokens,
                extra_parameters=settings.extra_parameters,
                max_output_tokens=settings.max_tokens_per_request,
                max_request_bytes=settings.max_body_bytes,
            ),
            default_deadline_ms=settings.default_deadline_ms,
            reply_topics=settings.reply_topics,
            webhook_targets=settings.webhook_targets,
            injection_sources=frozenset(settings.injection_sources),
        ),
        ports.registry,
        has_topic=ports.publisher.has,
        scan=scan,
        redact=redact,
    )


def scan(text: str) -> Finding | None:
    """Return why a text is blocked as an injection, or None."""
    verdict = scanner.check(text)
    if verdict.passed:
        return None
    return Finding(rule=str(verdict.rule), reason="Potential prompt injection detected")


def redact(text: str) -> Redacted:
    """Replace the personal data in a text by its labels."""
    redaction = pii.redact(text)
    return Redacted(redaction.text, redaction.types)


async def _cache(ports: Ports, resources: AsyncExitStack) -> CacheStage:
    settings = ports.settings
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
        await _embedder(ports, resources),
    )


async def _embedder(ports: Ports, resources: AsyncExitStack) -> Embedder | None:
    local = await embedder_of(ports.settings, ports.loaded)
    if local is None:
        return None
    resources.callback(local.close)
    return RecentEmbeddings(local)


async def _llm(ports: Ports, resources: AsyncExitStack) -> LlmStage:
    settings = ports.settings
    providers: Mapping[ProviderName, Provider] = configured_providers(settings)
    for provider in providers.values():
        resources.push_async_callback(provider.aclose)

    checked_by = OutputPolicy.from_settings(settings)

    def guard(event: CacheMissed) -> StreamingGuard:
        return answer_context(event.envelope, event.messages, ports.prompts).streaming_guard(checked_by)

    return LlmStage(
        providers=providers,
        publisher=ports.publisher,
        guards=guard,
        settings=LlmSettings.from_settings(settings),
        ports=CallPorts(journal=Journal(ports.redis, ttl_s=settings.registry_ttl_s)),
    )


async def _output(ports: Ports, resources: AsyncExitStack) -> OutputStage:  # noqa: ARG001  # one shape
    return OutputStage(ports.prompts, ports.cache, policy=OutputPolicy.from_settings(ports.settings))


async def _embeddings(ports: Ports, resources: AsyncExitStack) -> EmbeddingsStage:
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
        redact=redact,
        limits=EmbeddingLimits.from_settings(settings),
        policy=CallPolicy.from_settings(settings),
        ports=CallPorts(journal=Journal(ports.redis, ttl_s=settings.registry_ttl_s)),
    )


async def _cost(ports: Ports, resources: AsyncExitStack) -> CostStage:  # noqa: ARG001  # one shape
    settings = ports.settings
    return CostStage(
        ports.registry,
        store_text=settings.store_text,
        text_by_tenant=settings.text_by_tenant,
        counts=ports.calls,
    )


_BUILDERS: Mapping[str, Callable[[Ports, AsyncExitStack], Any]] = {
    "guardrail": _guardrail,
    "cache": _cache,
    "llm": _llm,
    "output": _output,
    "embeddings": _embeddings,
    "cost": _cost,
}

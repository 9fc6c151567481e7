"""Builds the LLM stage."""

from contextlib import AsyncExitStack

from agents.checks.output_policy import OutputPolicy
from agents.checks.streaming_guard import StreamingGuard, answer_context
from agents.llm.chat_calls import LlmSettings
from agents.llm.stage import LlmStage
from agents.paid_calls.ports import CallPorts
from agents.providers.configured import configured_providers
from agents.stores.journal import Journal
from agents.worker_ports import WorkerPorts
from streams.events import CacheMissed


async def build(ports: WorkerPorts, resources: AsyncExitStack) -> LlmStage:
    """Return the stage, with a client for each configured provider."""
    settings = ports.settings
    providers = configured_providers(settings)
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

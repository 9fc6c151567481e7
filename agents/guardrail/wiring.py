"""Builds the guardrail stage."""

import asyncio
from contextlib import AsyncExitStack

from agents.checks.injection.scanner import find_injection
from agents.guardrail.stage import GuardrailSettings, GuardrailStage
from agents.guardrail.validation import RequestLimits
from agents.worker_ports import WorkerPorts


async def build(ports: WorkerPorts, _: AsyncExitStack) -> GuardrailStage:
    """Return the stage, with its injection rules compiled."""
    settings = ports.settings
    await asyncio.to_thread(find_injection, "")  # compiles the rules, before the first request waits for it
    return GuardrailStage(
        GuardrailSettings(
            limits=RequestLimits(
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
    )

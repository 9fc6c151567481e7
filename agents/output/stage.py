"""The output stage: checks a model's whole answer and its format, and keeps it for the cache."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from agents.checks import pii
from agents.checks.answer_guard import AnswerContext, answer_context
from agents.checks.output_policy import DEFAULT_POLICY, AnswerVerdict, OutputPolicy
from agents.checks.redaction import TextWalk, texts_of
from agents.checks.response_format import format_problem
from agents.intake.replies import outcome_emits
from agents.prompts import PromptCatalogue
from agents.stage import Delivery
from agents.stores.answer_cache import AnswerCache, CachedAnswer
from agents.worker_ports import WorkerPorts
from streams import events, pipeline
from streams.errors import TransientFault
from streams.events import CacheSlot, Completed, Completion, Envelope, ErrorInfo, Status
from streams.publisher import Emit

#: The text that the user gets instead of a blocked answer.
BLOCKED_ANSWER = "I cannot provide that response as it was flagged by our safety system."

#: Paths that stay as they are: the tool's result names the call by its id.
_KEPT = frozenset({"tool_calls[].id"})

ToolCalls = tuple[dict[str, Any], ...]

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class OutputStage:
    """Checks a model's answer, and keeps it for the cache where it may be given again."""

    spec = pipeline.OUTPUT

    prompts: PromptCatalogue
    cache: AnswerCache
    _: KW_ONLY
    policy: OutputPolicy = DEFAULT_POLICY
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def handle(self, delivery: Delivery[Completed]) -> Sequence[Emit]:
        """Return the outcome: answered, blocked, or failed for its format."""
        event = delivery.event
        context = answer_context(event.envelope, event.messages, self.prompts)
        found = self._check(event.completion.content, context, finish_reason=event.completion.finish_reason)
        envelope = msgspec.structs.replace(event.envelope, output_verdict=_verdict(found))
        if not found.passed:
            return _blocked(envelope, event.completion, found)
        calls, types = event.completion.tool_calls, tuple[str, ...]()
        if calls:
            in_calls = self._check(_texts_of_calls(calls), context)
            if not in_calls.passed:
                envelope = msgspec.structs.replace(envelope, output_verdict=_verdict(in_calls))
                return _blocked(envelope, event.completion, in_calls)
            calls, types = self._redacted(calls, context)
            envelope = msgspec.structs.replace(envelope, output_verdict=_verdict(found, types))
        completion = msgspec.structs.replace(event.completion, content=found.text, tool_calls=calls)
        # A tool call has no format.
        problem = None if calls else format_problem(completion.content, envelope.request.response_format)
        if problem is not None:
            return _malformed(envelope, completion, problem)
        if event.cache_slot is not None and _may_be_given_again(completion, found):
            await self._remember(event.cache_slot, envelope, completion)
        return outcome_emits(envelope, Status.ANSWERED, completion=completion)

    async def delivered(self, delivery: Delivery[Completed]) -> None:
        """Nothing to note: checking twice gives the same verdict."""

    def _check(self, text: str, context: AnswerContext, *, finish_reason: str | None = None) -> AnswerVerdict:
        guard = context.streaming_guard(self.policy)
        return guard.finish(text, finish_reason=finish_reason)[1]

    def _redacted(self, calls: ToolCalls, context: AnswerContext) -> tuple[ToolCalls, tuple[str, ...]]:
        """Return the calls without personal data that is not the user's own, and its types."""
        own = pii.values_in(context.user_text)

        def redact(text: str) -> pii.Redaction:
            found = [span for span in pii.find(text) if span.type in self.policy.redact_pii]
            return pii.without(text, [s for s in found if pii.canonical(text[s.start : s.end]) not in own])

        walk = TextWalk(redact, kept=_KEPT)
        return walk.value(calls, "tool_calls"), walk.types

    async def _remember(self, slot: CacheSlot, envelope: Envelope, completion: Completion) -> None:
        answer = CachedAnswer(
            request_id=envelope.request_id,
            text=slot.text,
            content=completion.content,
            model=completion.model,
            provider=completion.provider,
            finish_reason=completion.finish_reason,
            cached_at=self.clock(),
        )
        try:
            await self.cache.put(slot, answer, tenant=envelope.tenant)
        except TransientFault as fault:
            log.warning("cache.not_written", request_id=envelope.request_id, error=str(fault))


def _texts_of_calls(calls: ToolCalls) -> str:
    """Return the texts of the calls, both as they were written and as their readers decode them."""
    texts: list[str] = []
    for call in calls:
        texts.append(str((call.get("function") or {}).get("arguments") or ""))
        texts += texts_of(call, kept=_KEPT, path="tool_calls[]")
    return "\n".join(texts)


def _verdict(found: AnswerVerdict, in_calls: tuple[str, ...] = ()) -> events.OutputVerdict:
    return events.OutputVerdict(
        passed=found.passed,
        rule=found.rule,
        reason=f"the answer matched rule {found.rule}" if found.rule else None,
        redacted_types=tuple(dict.fromkeys([*(span.type for span in found.redactions), *in_calls])),
        flags=found.flags,
    )


def _may_be_given_again(completion: Completion, found: AnswerVerdict) -> bool:
    return (
        completion.finish_reason == "stop"
        and not completion.tool_calls
        and not found.redactions
        and not found.flags
    )


def _blocked(envelope: Envelope, completion: Completion, found: AnswerVerdict) -> Sequence[Emit]:
    shown = msgspec.structs.replace(
        completion, content=BLOCKED_ANSWER, finish_reason="content_filter", tool_calls=()
    )
    error = ErrorInfo(
        type="content_policy_error",
        code=found.rule or "blocked",
        message=f"the answer was withheld by output rule {found.rule}",
    )
    return outcome_emits(envelope, Status.BLOCKED, completion=shown, error=error)


def _malformed(envelope: Envelope, completion: Completion, problem: str) -> Sequence[Emit]:
    error = ErrorInfo(
        type="api_error",
        code="invalid_output_format",
        message=f"the model's answer does not have the requested response_format: {problem}",
        param="response_format",
    )
    verdict = envelope.output_verdict
    if verdict is not None:
        verdict = msgspec.structs.replace(verdict, passed=False, rule="invalid_output_format", reason=problem)
    return outcome_emits(
        msgspec.structs.replace(envelope, output_verdict=verdict),
        Status.FAILED,
        completion=msgspec.structs.replace(completion, content=""),
        error=error,
    )


async def build(ports: WorkerPorts, _: AsyncExitStack) -> OutputStage:
    """Return the stage."""
    return OutputStage(ports.prompts, ports.cache, policy=OutputPolicy.from_settings(ports.settings))

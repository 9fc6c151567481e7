"""The guardrail stage: who asks, has it been asked before, can it be served, is it safe."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec

from agents.checks.json_texts import Redact
from agents.guardrail.request_texts import redacted, untrusted_texts
from agents.guardrail.validation import Limits, check_size, validate
from agents.intake import admission
from agents.intake.intake import Admitted, Intake
from agents.intake.outcomes import decided, senders_mistake
from agents.stage import Delivery
from streams.errors import InputError
from streams.events import (
    ChatRequested,
    Envelope,
    ErrorInfo,
    InputVerdict,
    RequestGuarded,
    Status,
)
from streams.kafka.record_sizes import MAX_GUARDED_FACTOR
from streams.publisher import Emit
from streams.registry.cancellation import cancelled_error
from streams.registry.registry import RequestRegistry
from streams.settings import InjectionSource
from streams.topics import GUARDED, REQUESTS
from streams.webhooks.targets import Targets

#: From this size on a request is examined in a thread: hostile text of 32,000 characters takes 0.4 s, and the
#: event loop has heartbeats to send.
_LONG_BYTES = 8_192


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Why a text is blocked: the rule's stable name, and what its sender is told."""

    rule: str
    reason: str


class GuardrailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage needs to know of its installation."""

    limits: Limits
    default_deadline_ms: int
    reply_topics: tuple[str, ...]
    webhook_targets: Targets
    #: Whose texts are looked through for injections.
    injection_sources: frozenset[InjectionSource] = frozenset({"user", "tool", "variables"})


class GuardrailStage:
    """Admits a request or turns it away; redacts personal data from what goes on.

    Args:
        settings: limits and defaults.
        registry: knows the requests that were seen before.
        has_topic: tells whether a topic, and its partition where one is named, exists.
        scan: finds a reason to block a text, or None.
        redact: replaces personal data in a text.
        clock: the time, UTC-aware.
    """

    name = "guardrail"
    source = REQUESTS

    def __init__(
        self,
        settings: GuardrailSettings,
        registry: RequestRegistry,
        *,
        has_topic: Callable[[str, int | None], Awaitable[bool]],
        scan: Callable[[str], Finding | None],
        redact: Redact,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._intake = Intake(
            registry,
            has_topic=has_topic,
            reply_topics=settings.reply_topics,
            default_deadline_ms=settings.default_deadline_ms,
            clock=clock,
        )
        self._scan = scan
        self._redact = redact
        self._clock = clock

    async def handle(self, delivery: Delivery[ChatRequested]) -> Sequence[Emit]:
        """Return the guarded request, its refusal or cancellation, or the stored reply of a repeat."""
        record = delivery.record
        admitted = await self._intake.admit(record, delivery.event)
        if not isinstance(admitted, Admitted):
            return admitted
        envelope, unreachable = self._check_webhook(admitted.envelope)
        if admitted.cancelled is not None:
            error = cancelled_error(admitted.cancelled)
            return decided(admission.without_texts(envelope), Status.CANCELLED, error=error)
        if admitted.refusal is not None:
            return _refuse(envelope, admitted.refusal)
        if unreachable is not None:
            return _refuse(envelope, unreachable)
        if len(record.value or b"") > _LONG_BYTES:
            return await asyncio.to_thread(self._examine, envelope)
        return self._examine(envelope)

    def _check_webhook(self, envelope: Envelope) -> tuple[Envelope, InputError | None]:
        """Return the envelope without a webhook that could not be delivered, and why it could not."""
        webhook = envelope.request.webhook
        if webhook is None:
            return envelope, None
        try:
            self._settings.webhook_targets.check_url(webhook.url)
        except InputError as fault:
            request = msgspec.structs.replace(envelope.request, webhook=None)
            return msgspec.structs.replace(envelope, request=request), fault
        return envelope, None

    async def delivered(self, delivery: Delivery[ChatRequested]) -> None:
        """Nothing to note: the registry already knows the request."""

    def _examine(self, envelope: Envelope) -> Sequence[Emit]:
        if self._clock() >= envelope.deadline_at:
            error = ErrorInfo(
                type="timeout_error",
                code="deadline_exceeded",
                message="the request's deadline passed in the queue; send it again with a longer deadline_ms",
                param="deadline_ms",
            )
            return decided(admission.without_texts(envelope), Status.FAILED, error=error)
        try:
            tokens = validate(envelope.request, self._settings.limits)
        except InputError as fault:
            return _refuse(envelope, fault)
        # Redacted before anything goes on: what is blocked is logged, too.
        request, types = redacted(envelope.request, self._redact)
        try:
            self._check_growth(request, types)
        except InputError as fault:
            return _refuse(envelope, fault)
        verdict = InputVerdict(passed=True, pii_types=types, input_tokens=tokens)
        guarded = msgspec.structs.replace(envelope, request=request, input_verdict=verdict)
        for text in untrusted_texts(envelope.request, self._settings.injection_sources):
            finding = self._scan(text)
            if finding is not None:
                return _block(guarded, finding, verdict)
        return (Emit.to(GUARDED, RequestGuarded(envelope=guarded), key=envelope.request_id),)

    def _check_growth(self, request: ChatRequested, types: tuple[str, ...]) -> None:
        """Check that what stands for personal data has not made the request too large for later records."""
        if types:
            most = MAX_GUARDED_FACTOR * self._settings.limits.max_request_bytes
            check_size(request, most, what="with its personal data replaced, the request")


def _refuse(envelope: Envelope, fault: InputError) -> Sequence[Emit]:
    return decided(admission.without_texts(envelope), Status.FAILED, error=senders_mistake(fault))


def _block(envelope: Envelope, finding: Finding, passed: InputVerdict) -> Sequence[Emit]:
    verdict = msgspec.structs.replace(passed, passed=False, rule=finding.rule, reason=finding.reason)
    return decided(
        msgspec.structs.replace(envelope, input_verdict=verdict),
        Status.BLOCKED,
        error=ErrorInfo(type="content_policy_error", code=finding.rule, message=finding.reason),
    )

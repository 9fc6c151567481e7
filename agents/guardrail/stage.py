"""The guardrail stage: has the request been seen before, can it be served, is it safe."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime

import msgspec

from agents.checks import pii
from agents.checks.injection.scanner import find_injection
from agents.checks.redaction import redacted, untrusted_texts
from agents.checks.response_format import schema_problem
from agents.intake.envelopes import without_texts
from agents.intake.intake import Admitted, Intake
from agents.intake.replies import input_error_info, outcome_emits
from agents.stage import Delivery
from agents.worker_ports import WorkerPorts
from streams import pipeline
from streams.codec import encode
from streams.control.catalogue import LiveCatalogue, ModelCatalogue
from streams.errors import InputError, InvalidRequest
from streams.events import ChatRequested, Envelope, ErrorInfo, InputVerdict, RequestGuarded, Status
from streams.model_catalogue import Model
from streams.publisher import Emit
from streams.registry.entries import cancelled_error
from streams.registry.registry import RequestRegistry
from streams.request_rules.chat import check_chat
from streams.request_rules.input_tokens import input_tokens
from streams.settings import Settings
from streams.topics import MAX_GUARDED_FACTOR


def validate(request: ChatRequested, settings: Settings, catalogue: ModelCatalogue) -> int:
    """Return a request's estimated number of input tokens; `InvalidRequest` for the first thing wrong."""
    check_size(request, settings.max_body_bytes)
    model = check_chat(
        request,
        catalogue,
        max_tokens_per_request=settings.max_tokens_per_request,
        extra_parameters=settings.extra_parameters,
    )
    problem = schema_problem(request.response_format)
    if problem is not None:
        raise InvalidRequest(problem, code="invalid_response_format", param="response_format")
    if model is not None and (request.max_tokens or 0) > model.max_output_tokens:
        raise InvalidRequest(
            f"max_tokens must be at most {model.max_output_tokens} for {model.name}",
            code="invalid_value",
            param="max_tokens",
        )
    return _check_tokens(request, settings, model)


def check_size(request: ChatRequested, most: int, *, what: str = "the request") -> None:
    """Raise `InvalidRequest` for a request of more than `most` bytes."""
    size = len(encode(request))
    if size > most:
        raise InvalidRequest(f"{what} has {size} bytes; the limit is {most}", code="request_too_large")


def _check_tokens(request: ChatRequested, settings: Settings, model: Model | None) -> int:
    tokens = input_tokens(request)
    most = settings.max_input_tokens
    if model is not None:
        most = min(most, model.context_window_tokens)
    if tokens > most:
        raise InvalidRequest(
            f"the input has about {tokens} tokens; the limit is {most}: shorten it",
            code="context_length_exceeded",
            param="messages" if request.messages else "query",
        )
    return tokens


#: A request of this size or more is examined in a thread: hostile text of 32,000 characters takes 0.4 s, and
#: the event loop has heartbeats to send.
_LONG_BYTES = 8_192


@dataclass(eq=False)
class GuardrailStage:
    """Admits a request or refuses it, and redacts the personal data in it; see `Intake` for `has_topic`."""

    spec = pipeline.GUARDRAIL

    settings: Settings
    registry: RequestRegistry
    _: KW_ONLY
    has_topic: Callable[[str, int | None], Awaitable[bool]]
    models: LiveCatalogue = field(default_factory=LiveCatalogue)
    find_injection: Callable[[str], str | None] = find_injection
    redact: pii.Redact = pii.redact
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        self._intake = Intake(
            self.registry,
            has_topic=self.has_topic,
            reply_topics=self.settings.reply_topics,
            default_deadline_ms=self.settings.default_deadline_ms,
            clock=self.clock,
        )

    async def handle(self, delivery: Delivery[ChatRequested]) -> Sequence[Emit]:
        """Return the guarded request, its refusal or cancellation, or the stored reply of a repeat."""
        record = delivery.record
        admitted = await self._intake.admit(record, delivery.event)
        if not isinstance(admitted, Admitted):
            return admitted
        envelope, unreachable = self._check_webhook(admitted.envelope)
        if admitted.cancelled is not None:
            error = cancelled_error(admitted.cancelled)
            return outcome_emits(without_texts(envelope), Status.CANCELLED, error=error)
        refusal = admitted.refusal or unreachable
        if refusal is not None:
            return _refuse(envelope, refusal)
        if len(record.value or b"") > _LONG_BYTES:
            return await asyncio.to_thread(self._examine, envelope)
        return self._examine(envelope)

    def _check_webhook(self, envelope: Envelope) -> tuple[Envelope, InputError | None]:
        """Return the envelope without a webhook that could not be delivered, and why it could not."""
        webhook = envelope.request.webhook
        if webhook is None:
            return envelope, None
        try:
            self.settings.webhook_targets.check_url(webhook.url)
        except InputError as fault:
            request = msgspec.structs.replace(envelope.request, webhook=None)
            return msgspec.structs.replace(envelope, request=request), fault
        return envelope, None

    async def delivered(self, delivery: Delivery[ChatRequested]) -> None:
        """Nothing to note: the registry already knows the request."""

    def _examine(self, envelope: Envelope) -> Sequence[Emit]:
        if self.clock() >= envelope.deadline_at:
            error = ErrorInfo(
                type="timeout_error",
                code="deadline_exceeded",
                message="the request's deadline passed in the queue; send it again with a longer deadline_ms",
                param="deadline_ms",
            )
            return outcome_emits(without_texts(envelope), Status.FAILED, error=error)
        try:
            tokens = validate(envelope.request, self.settings, self.models.current)
            # Redacted before anything goes on: a blocked request is logged, too.
            request, types = redacted(envelope.request, self.redact)
            if types:  # labels may be longer than what they replace, and later records need room
                most = MAX_GUARDED_FACTOR * self.settings.max_body_bytes
                check_size(request, most, what="with its personal data replaced, the request")
        except InputError as fault:
            return _refuse(envelope, fault)
        verdict = InputVerdict(passed=True, pii_types=types, input_tokens=tokens)
        guarded = msgspec.structs.replace(envelope, request=request, input_verdict=verdict)
        for text in untrusted_texts(envelope.request, self.settings.injection_sources):
            rule = self.find_injection(text)
            if rule is not None:
                return _block(guarded, rule, verdict)
        return (Emit.to(self.spec.next, RequestGuarded(envelope=guarded), key=envelope.request_id),)


def _refuse(envelope: Envelope, fault: InputError) -> Sequence[Emit]:
    return outcome_emits(without_texts(envelope), Status.FAILED, error=input_error_info(fault))


def _block(envelope: Envelope, rule: str, passed: InputVerdict) -> Sequence[Emit]:
    reason = "Potential prompt injection detected"
    verdict = msgspec.structs.replace(passed, passed=False, rule=rule, reason=reason)
    return outcome_emits(
        msgspec.structs.replace(envelope, input_verdict=verdict),
        Status.BLOCKED,
        error=ErrorInfo(type="content_policy_error", code=rule, message=reason),
    )


async def build(ports: WorkerPorts, _: AsyncExitStack) -> GuardrailStage:
    """Return the stage, with its injection rules compiled."""
    await asyncio.to_thread(find_injection, "")  # compiles the rules, before the first request waits for it
    return GuardrailStage(ports.settings, ports.registry, has_topic=ports.publisher.has, models=ports.models)

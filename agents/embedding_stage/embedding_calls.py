"""Requests for embeddings, the calls that they need, and how they end.

One model is asked in all tries, because other models' vectors do not compare with its own.
"""

from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from agents.checks.pii import Redact
from agents.checks.redaction import redacted
from agents.paid_calls.call_booking import CallProgress
from agents.paid_calls.paid_request import (
    Answered,
    Clock,
    Ending,
    Exhausted,
    PaidRequest,
    RequestRefused,
    pseudonym,
)
from agents.providers.clients import ProviderClients
from agents.providers.faults import ProviderFault, RateLimited, Refused
from agents.providers.openai.embeddings import OpenAIEmbeddings
from agents.providers.provider import Embedded, EmbeddingCall, Timeouts
from agents.stores.journal_entries import Lease
from streams.events import (
    Completion,
    EmbeddingsRequested,
    Envelope,
    ErrorInfo,
    InputVerdict,
    LlmCall,
    OutcomeReached,
    Status,
)
from streams.model_catalogue import EmbeddingModel, Model
from streams.request_rules.chat import MAX_CONTENT_CHARS


class EmbeddingRequest(PaidRequest):
    """One request while it is worked on. Its texts and its envelope are without personal data."""

    def __init__(
        self,
        envelope: Envelope,
        lease: Lease,
        calls: Iterable[LlmCall] = (),
        *,
        model: EmbeddingModel,
        inputs: tuple[str, ...],
        input_tokens: int,
        dimensions: int | None,
    ) -> None:
        super().__init__(envelope, lease, input_tokens=input_tokens, calls=calls)
        self.model = model
        self.inputs = inputs
        self.dimensions = dimensions


def redacted_request(
    request: EmbeddingsRequested,
    envelope: Envelope,
    *,
    model: EmbeddingModel,
    input_tokens: int,
    redact: Redact,
) -> Callable[[Lease, Iterable[LlmCall]], EmbeddingRequest]:
    """Return what makes the work on a checked request, once it is claimed, of the lease and former calls.

    Nobody but the sender sees the texts again. What the envelope holds of them, for the log record, is
    redacted too, and no longer than a message may be.
    """
    clean, types = redacted(request, redact)
    told = msgspec.structs.replace(envelope.request, query="\n".join(clean.inputs)[:MAX_CONTENT_CHARS])
    verdict = InputVerdict(passed=True, pii_types=types, input_tokens=input_tokens)
    return partial(
        EmbeddingRequest,
        msgspec.structs.replace(envelope, request=told, input_verdict=verdict),
        model=model,
        inputs=clean.inputs,
        input_tokens=input_tokens,
        dimensions=request.dimensions,
    )


class EmbeddingCalls:
    """Makes embedding calls."""

    #: No other model can stand in, and a few quick faults of some requests should not fail all others.
    waits_for_circuit = True

    def __init__(self, providers: ProviderClients[OpenAIEmbeddings], *, clock: Clock) -> None:
        self._providers = providers
        self._clock = clock

    def new_call(
        self, request: EmbeddingRequest, model: Model, *, call_id: str, timeouts: Timeouts
    ) -> EmbeddingCall:
        """Return the call to send to the model."""
        return EmbeddingCall(
            call_id=call_id,
            model=model.upstream_name,
            inputs=request.inputs,
            timeouts=timeouts,
            input_tokens=request.input_tokens,
            most_tokens=model.context_window_tokens * len(request.inputs),
            dimensions=request.dimensions,
            user=pseudonym(request.envelope, request.envelope.user_id),
        )

    async def send(self, request: EmbeddingRequest, progress: CallProgress[EmbeddingCall, Embedded]) -> None:
        """Send the call, and let `progress` take the vectors."""
        async with self._providers.using(request.model.provider) as provider:
            progress.take(await provider.embed(progress.call), self._clock.monotonic())


def conclude(request: EmbeddingRequest, ending: Ending[Embedded]) -> OutcomeReached:
    """Return the outcome of a request that was worked on."""
    match ending:
        case Answered(answer=embedded):
            completion = Completion(
                content="",
                model=request.model.named(embedded.model),
                finish_reason="",
                usage=embedded.usage,
                attempt=ending.attempt,
                provider=request.model.provider,
                embeddings=embedded.embeddings,
            )
            return request.outcome(Status.ANSWERED, completion=completion)
        case Exhausted(Refused() as refused):
            return request.unanswered(RequestRefused(refused))
        case Exhausted(fault):
            return request.outcome(Status.FAILED, error=_no_answer(request.model, fault))
        case _:
            return request.unanswered(ending)


def not_served(request: EmbeddingRequest) -> OutcomeReached:
    """Return the outcome of a request whose model's provider has no key here."""
    model = request.model
    return request.outcome(
        Status.FAILED,
        error=ErrorInfo(
            type="unavailable_error",
            code="provider_not_configured",
            message=f"{model.name} is served by {model.provider}, for which there is no key here; an "
            "operator must give the workers one",
            param="model",
        ),
    )


def _no_answer(model: EmbeddingModel, fault: ProviderFault | None) -> ErrorInfo:
    """Return the error of a request that its model has not answered, without the provider's own words."""
    if isinstance(fault, RateLimited):
        return ErrorInfo(
            type="rate_limit_error",
            code="provider_rate_limited",
            message=f"{model.provider} limits how often {model.name} may be asked; try again later",
        )
    why = f" ({fault.error})" if fault is not None else ""
    return ErrorInfo(
        type="unavailable_error",
        code="provider_unavailable",
        message=f"{model.name} of {model.provider} does not answer{why}, and no other model's vectors would "
        "compare with its own; try again later",
    )

"""From how the calls for a request ended to the outcome that the stage sends."""

from agents.embedding_stage.embedding_request import EmbeddingRequest
from agents.paid_calls.endings import Answered, Ending, Exhausted, RequestRefused, unanswered
from agents.providers.faults import ProviderFault, RateLimited, Refused
from agents.providers.provider import Embedded
from streams.events import Completion, ErrorInfo, OutcomeReached, Status
from streams.models import EmbeddingModel


def conclude(request: EmbeddingRequest, ending: Ending[Embedded]) -> OutcomeReached:
    """Return the outcome of a request that was worked on."""
    match ending:
        case Answered():
            return OutcomeReached(
                envelope=request.envelope_with_calls,
                status=Status.ANSWERED,
                completion=_completion(request, ending),
            )
        case Exhausted(Refused() as refused):
            ending = RequestRefused(refused)
        case Exhausted(fault):
            return _failed(request, _no_answer(request.order.model, fault))
    status, error = unanswered(ending, asked=bool(request.calls))
    return OutcomeReached(envelope=request.envelope_with_calls, status=status, error=error)


def not_served(request: EmbeddingRequest) -> OutcomeReached:
    """Return the outcome of a request whose model's provider has no key here."""
    model = request.order.model
    return _failed(
        request,
        ErrorInfo(
            type="unavailable_error",
            code="provider_not_configured",
            message=f"{model.name} is served by {model.provider}, for which there is no key here; an "
            "operator must give the workers one",
            param="model",
        ),
    )


def _completion(request: EmbeddingRequest, ending: Answered[Embedded]) -> Completion:
    embedded = ending.answer
    return Completion(
        content="",
        model=embedded.model,
        finish_reason="",
        usage=embedded.usage,
        attempt=ending.attempt,
        provider=request.order.model.provider,
        embeddings=embedded.embeddings,
    )


def _failed(request: EmbeddingRequest, error: ErrorInfo) -> OutcomeReached:
    return OutcomeReached(envelope=request.envelope_with_calls, status=Status.FAILED, error=error)


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

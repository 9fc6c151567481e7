"""From how the work on a request ended to the outcome that the stage sends."""

from agents.embedding_stage.attempts import Ending, GaveUp, Made, NotServed, Work
from agents.llm.conclusions import with_calls
from agents.paid_calls.attempts import RequestRefused
from agents.paid_calls.paid_work import Abandoned, OutOfTime
from agents.providers.faults import ProviderFault, RateLimited
from streams.events import Completion, Envelope, ErrorInfo, OutcomeReached, Status
from streams.models import EmbeddingModel
from streams.registry.cancellation import cancelled_error


def conclude(work: Work, ending: Ending) -> OutcomeReached:
    """Return the outcome of a request that was worked on."""
    envelope = with_calls(work.order.envelope, work.calls)
    match ending:
        case Made():
            return OutcomeReached(
                envelope=envelope, status=Status.ANSWERED, completion=_completion(work, ending)
            )
        case Abandoned(reason):
            error = cancelled_error(reason)
            return OutcomeReached(envelope=envelope, status=Status.CANCELLED, error=error)
        case RequestRefused(fault):
            error = ErrorInfo(
                type="invalid_request_error", code=fault.code, message=fault.message, param=fault.param
            )
            return _failed(envelope, error)
        case OutOfTime():
            return _failed(envelope, too_late(asked=bool(work.calls)))
        case NotServed():
            return _failed(envelope, _not_served(work.order.model))
        case GaveUp(fault):
            return _failed(envelope, _no_answer(work.order.model, fault))


def _completion(work: Work, made: Made) -> Completion:
    embedded = made.embedded
    return Completion(
        content="",
        model=embedded.model,
        finish_reason="",
        usage=embedded.usage,
        attempt=made.attempt,
        provider=work.order.model.provider,
        embeddings=embedded.embeddings,
    )


def _failed(envelope: Envelope, error: ErrorInfo) -> OutcomeReached:
    return OutcomeReached(envelope=envelope, status=Status.FAILED, error=error)


def too_late(*, asked: bool) -> ErrorInfo:
    """Return the error of a request whose deadline has passed."""
    when = "before the model answered" if asked else "before the model could be asked"
    return ErrorInfo(
        type="timeout_error",
        code="deadline_exceeded",
        message=f"the request's deadline passed {when}; send it again with a longer deadline_ms",
        param="deadline_ms",
    )


def _not_served(model: EmbeddingModel) -> ErrorInfo:
    return ErrorInfo(
        type="unavailable_error",
        code="provider_not_configured",
        message=f"{model.name} is served by {model.provider}, for which there is no key here: whoever runs "
        "Headrace must give one to the workers",
        param="model",
    )


def _no_answer(model: EmbeddingModel, fault: ProviderFault | None) -> ErrorInfo:
    """Return the error of a request that its model has not answered: the provider's own words stay here."""
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

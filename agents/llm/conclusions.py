"""Makes the event that the stage sends, of the way in which the calls for a request ended."""

from agents.llm.chat_calls import ChatRequest
from agents.llm.degraded import degraded_completion
from agents.llm.routing import Routing
from agents.llm.stored_result import ChatOutcome
from agents.paid_calls.endings import Answered, Ending, Exhausted, unanswered
from agents.providers.provider import Answer
from streams.events import Completed, Completion, ErrorInfo, OutcomeReached, Status
from streams.models import MODELS


def conclude(request: ChatRequest, ending: Ending[Answer]) -> ChatOutcome:
    """Return the outcome of a request that was worked on."""
    match ending:
        case Answered():
            return _completed(request, ending)
        case Exhausted():
            completion = degraded_completion(request.calls, attempt=request.last_number + 1)
            return OutcomeReached(
                envelope=request.envelope_with_calls,
                status=Status.DEGRADED,
                completion=completion,
                error=completion.error,
            )
        case _:
            status, error = unanswered(ending, asked=bool(request.calls))
            return OutcomeReached(envelope=request.envelope_with_calls, status=status, error=error)


def _completed(request: ChatRequest, ending: Answered[Answer]) -> Completed:
    answer = ending.answer
    return Completed(
        envelope=request.envelope_with_calls,
        messages=request.event.messages,
        completion=Completion(
            content=answer.text,
            model=answer.model,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            attempt=ending.attempt,
            provider=ending.route.model.provider,
            tool_calls=answer.tool_calls,
        ),
        # A repeat asks for the first model: a fallback's answer is not that model's.
        cache_slot=request.event.cache_slot
        if ending.route.model.name == request.event.default_model
        else None,
    )


def failed(request: ChatRequest, error: ErrorInfo) -> OutcomeReached:
    """Return the outcome of a request that has no answer."""
    return OutcomeReached(envelope=request.envelope_with_calls, status=Status.FAILED, error=error)


def unknown_model(name: str) -> ErrorInfo:
    """Return the error for a model that is not in the catalogue."""
    known = ", ".join(sorted(MODELS))
    return ErrorInfo(
        type="invalid_request_error",
        code="model_not_found",
        message=f"unknown model {name!r}; known models: {known}",
        param="model",
    )


def too_long(request: ChatRequest, routing: Routing) -> ErrorInfo:
    """Return the error for a prompt that no model takes."""
    largest = max(routing.too_small, key=lambda model: model.context_window_tokens)
    return ErrorInfo(
        type="invalid_request_error",
        code="context_length_exceeded",
        message=(
            f"the prompt has {request.input_tokens} tokens and {request.event.max_output_tokens} are "
            f"asked for the answer; {largest.name} takes {largest.context_window_tokens} in all: shorten the "
            "messages"
        ),
        param="messages",
    )

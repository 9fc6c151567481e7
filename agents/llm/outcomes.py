"""What the stage sends of the way in which the calls for a request ended, and how the journal stores it."""

from collections.abc import Sequence

from agents.llm.chat_calls import ChatRequest
from agents.llm.routing import Routing
from agents.paid_calls.paid_request import Answered, Ending, Exhausted
from agents.providers.provider import Answer
from streams import pipeline
from streams.codec import decode, encode
from streams.events import Completed, Completion, ErrorInfo, Event, LlmCall, OutcomeReached, Status, Usage
from streams.models import MODELS
from streams.publisher import Emit
from streams.topics import OUTCOMES

#: The degraded answer, for requests that no model answers.
APOLOGY = "I apologize, but I am temporarily unable to process your request. Please try again in a moment."

ChatOutcome = Completed | OutcomeReached


class StoredResult(Event, frozen=True, kw_only=True):
    """One of the two events that the stage sends, as the journal stores it."""

    completed: Completed | None = None
    outcome: OutcomeReached | None = None


def pack(outcome: ChatOutcome) -> bytes:
    """Return the bytes that the journal stores."""
    if isinstance(outcome, Completed):
        return encode(StoredResult(completed=outcome))
    return encode(StoredResult(outcome=outcome))


def unpack(data: bytes) -> ChatOutcome:
    """Return the event in stored bytes."""
    stored = decode(data, StoredResult)
    outcome = stored.completed or stored.outcome
    if outcome is None:
        raise AssertionError("the journal stored an empty result")
    return outcome


def emit(outcome: ChatOutcome) -> Emit:
    """Return the record that carries the event."""
    topic = pipeline.LLM.next if isinstance(outcome, Completed) else OUTCOMES
    return Emit.to(topic, outcome, key=outcome.envelope.request_id)


def conclude(request: ChatRequest, ending: Ending[Answer]) -> ChatOutcome:
    """Return the outcome of a request that was worked on."""
    match ending:
        case Answered():
            return _completed(request, ending)
        case Exhausted():
            completion = _degraded(request)
            return request.outcome(Status.DEGRADED, completion=completion, error=completion.error)
        case _:
            return request.unanswered(ending)


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
            provider=ending.model.provider,
            tool_calls=answer.tool_calls,
        ),
        # A repeat asks for the first model: a fallback's answer is not that model's.
        cache_slot=request.event.cache_slot if ending.model.name == request.event.default_model else None,
    )


def _degraded(request: ChatRequest) -> Completion:
    return Completion(
        content=APOLOGY,
        model="degraded",
        finish_reason="stop",
        usage=Usage(),
        attempt=request.last_number + 1,  # so that what the failed calls published is replaced
        degraded=True,
        error=ErrorInfo(type="api_error", code="all_models_failed", message=_what_failed(request.calls)),
    )


def _what_failed(calls: Sequence[LlmCall]) -> str:
    failed = dict.fromkeys(f"{call.request_model}: {call.error}" for call in calls if call.error)
    if not failed:
        return "no model can be asked at the moment; try again later"
    return f"no model answered ({'; '.join(failed)}); try again later"


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

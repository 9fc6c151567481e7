"""From how the work on a request ended to the event that the stage sends."""

from collections.abc import Iterable

import msgspec

from agents.llm.degraded import degraded_completion
from agents.llm.result import Outcome
from agents.llm.routing import Routing
from agents.paid_calls.attempts import Answered, Ending, Exhausted, RequestRefused, Work
from agents.paid_calls.paid_work import Abandoned, OutOfTime
from streams.events import Completed, Completion, Envelope, ErrorInfo, LlmCall, OutcomeReached, Status
from streams.models import MODELS
from streams.registry.cancellation import cancelled_error


def conclude(work: Work, ending: Ending) -> Outcome:
    """Return the outcome of a request that was worked on."""
    match ending:
        case Answered():
            return _completed(work, ending)
        case RequestRefused(fault):
            error = ErrorInfo(
                type="invalid_request_error", code=fault.code, message=fault.message, param=fault.param
            )
            return failed(work, error)
        case Abandoned(reason):
            error = cancelled_error(reason)
            return OutcomeReached(envelope=_envelope(work), status=Status.CANCELLED, error=error)
        case OutOfTime():
            return failed(work, _too_late(work))
        case Exhausted():
            completion = degraded_completion(work.calls, attempt=work.last_number + 1)
            return OutcomeReached(
                envelope=_envelope(work),
                status=Status.DEGRADED,
                completion=completion,
                error=completion.error,
            )


def _completed(work: Work, ending: Answered) -> Completed:
    answer = ending.answer
    return Completed(
        envelope=_envelope(work),
        messages=work.event.messages,
        completion=Completion(
            content=answer.text,
            model=answer.model,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            attempt=ending.attempt,
            provider=ending.provider,
            tool_calls=answer.tool_calls,
        ),
        # Whoever asks again asks for the first model; a fallback's answer is not its answer.
        cache_slot=work.event.cache_slot if ending.model == work.event.default_model else None,
    )


def failed(work: Work, error: ErrorInfo) -> OutcomeReached:
    """Return the outcome of a request that has no answer."""
    return OutcomeReached(envelope=_envelope(work), status=Status.FAILED, error=error)


def _envelope(work: Work) -> Envelope:
    return with_calls(work.event.envelope, work.calls)


def with_calls(envelope: Envelope, calls: Iterable[LlmCall]) -> Envelope:
    """Return the envelope with these calls in it."""
    return msgspec.structs.replace(envelope, calls=(*envelope.calls, *calls))


def _too_late(work: Work) -> ErrorInfo:
    when = "before a model answered" if work.calls else "before a model could be asked"
    return ErrorInfo(
        type="timeout_error",
        code="deadline_exceeded",
        message=f"the request's deadline passed {when}; send it again with a longer deadline_ms",
        param="deadline_ms",
    )


def unknown_model(name: str) -> ErrorInfo:
    """Return the error for a model that is not in the catalogue."""
    known = ", ".join(sorted(MODELS))
    return ErrorInfo(
        type="invalid_request_error",
        code="model_not_found",
        message=f"unknown model {name!r}; known models: {known}",
        param="model",
    )


def too_long(work: Work, routing: Routing) -> ErrorInfo:
    """Return the error for a prompt that no model takes."""
    largest = max(routing.too_small, key=lambda model: model.context_window_tokens)
    return ErrorInfo(
        type="invalid_request_error",
        code="context_length_exceeded",
        message=(
            f"the prompt has {work.input_tokens} tokens and {work.event.max_output_tokens} are asked for the "
            f"answer; {largest.name} takes {largest.context_window_tokens} in all: shorten the messages"
        ),
        param="messages",
    )

"""The degraded answer, for requests that no model answers: an apology, marked as not written by a model."""

from collections.abc import Sequence

from streams.events import Completion, ErrorInfo, LlmCall, Usage

APOLOGY = "I apologize, but I am temporarily unable to process your request. Please try again in a moment."
MODEL = "degraded"


def degraded_completion(calls: Sequence[LlmCall], *, attempt: int) -> Completion:
    """Return the degraded answer.

    Args:
        calls: the calls that failed.
        attempt: a number above those of the failed calls, so that what these published is replaced.
    """
    return Completion(
        content=APOLOGY,
        model=MODEL,
        finish_reason="stop",
        usage=Usage(),
        attempt=attempt,
        degraded=True,
        error=ErrorInfo(type="api_error", code="all_models_failed", message=_what_failed(calls)),
    )


def _what_failed(calls: Sequence[LlmCall]) -> str:
    failed = dict.fromkeys(f"{call.request_model}: {call.error}" for call in calls if call.error)
    if not failed:
        return "no model can be asked at the moment; try again later"
    return f"no model answered ({'; '.join(failed)}); try again later"

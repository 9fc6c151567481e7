"""What has come of an answer so far, and what it has spent: known at every moment, for when it ends early."""

from datetime import datetime
from typing import Generic, TypeVar

from agents.llm.routing import Route
from agents.paid_calls import pricing
from agents.paid_calls.pricing import CallTimes
from agents.providers.faults import ProviderFault
from agents.providers.port import Answer, AnyCall, ProviderEvent, TextDelta, UsageKnown
from agents.providers.usage import asked_tier, estimate
from streams.events import LlmCall, Usage

C = TypeVar("C", bound=AnyCall)


class Reading(Generic[C]):
    """One call while its answer is read.

    Args:
        call: the call.
        route: the model it goes to.
        number: its number among the request's calls.
        started_at: when it began.
        started: the same on the monotonic clock, in seconds.
    """

    def __init__(self, call: C, route: Route, *, number: int, started_at: datetime, started: float) -> None:
        self.call = call
        self.route = route
        self.number = number
        self.answer: Answer | None = None
        self.blocked = False
        self._started_at = started_at
        self._started = started
        self._first_text_at: float | None = None
        self._text: list[str] = []
        self._usage: Usage | None = None
        self._model: str | None = None

    def take(self, event: ProviderEvent, now: float) -> None:
        """Take what comes next. `now` is on the monotonic clock."""
        match event:
            case TextDelta(text):
                if self._first_text_at is None:
                    self._first_text_at = now
                self._text.append(text)
            case UsageKnown(usage, model):
                self._usage, self._model = usage, model
            case Answer():
                self.answer = event

    @property
    def begun(self) -> bool:
        """Whether text has come."""
        return self._first_text_at is not None

    def times(self, now: float) -> CallTimes:
        """Return the times of a call that ends now."""
        first = self._first_text_at
        return CallTimes(
            started_at=self._started_at,
            duration_us=_microseconds(now - self._started),
            first_token_us=None if first is None else _microseconds(first - self._started),
        )

    def spent(self) -> Usage:
        """Return what a call that is cut off here has spent.

        What the provider has reported counts; for the rest it is our own count of the prompt and of the text
        that came. Of an answer that comes whole, nothing has come: the prompt alone is counted, which is a
        lower bound of what the provider bills if it goes on writing.
        """
        return estimate(
            input_tokens=self.call.input_tokens,
            text="".join(self._text),
            reported=self._usage,
            service_tier=asked_tier(self.call),
        )

    def stop(self) -> None:
        """End the answer here: the guard has blocked it. What was spent so far is billed."""
        self.answer = Answer(
            text="".join(self._text),
            model=self._model or self.call.model,
            finish_reason="content_filter",
            usage=self.spent(),
        )

    def answered(self, answer: Answer, now: float) -> LlmCall:
        """Return the entry for a call that was answered."""
        return pricing.answered(
            self.route, answer, call_id=self.call.call_id, number=self.number, times=self.times(now)
        )

    def failed(self, fault: ProviderFault, now: float) -> LlmCall:
        """Return the entry for a call that failed."""
        return pricing.failed(
            self.route, fault, call_id=self.call.call_id, number=self.number, times=self.times(now)
        )

    def cut_off(self, error: str, now: float) -> LlmCall:
        """Return the entry for a call that we ended ourselves; `error` says why."""
        return pricing.cut_off(
            self.route,
            self.spent(),
            error=error,
            response_model=self._model,
            call_id=self.call.call_id,
            number=self.number,
            times=self.times(now),
        )


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)

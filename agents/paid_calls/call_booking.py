"""What a provider call costs: its price, its progress while it runs, and its booking.

charge(MODELS["gpt-4o"], Usage(input_tokens=1_000, output_tokens=200)).cost_usd  # Decimal("0.0045")
"""

from typing import Any, Generic, TypeVar

from agents.providers.faults import ProviderFault
from agents.providers.provider import Answer, AnyCall, Embedded, TextDelta, UsageKnown
from agents.providers.usage import asked_tier, estimate
from agents.stores.journal_entries import BegunCall, Charge, LostCall
from streams.control.catalogue import ModelCatalogue
from streams.events import LlmCall, Usage
from streams.model_catalogue import PRICED_MODELS, Model

C = TypeVar("C", bound=AnyCall)
A = TypeVar("A", Answer, Embedded)


def charge(model: Model, usage: Usage) -> Charge:
    """Return what a call to a model costs that has spent `usage`."""
    cost_usd = model.cost_usd(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        service_tier=usage.service_tier,
    )
    return Charge(
        cost_usd=cost_usd,
        price_version=model.price_version,
        long_context=model.is_long(usage.input_tokens),
    )


def lost_usage(input_tokens: int, service_tier: str) -> Usage:
    """Return what a call has spent whose answer was lost with its worker.

    It is an estimate, and a lower bound where the provider did answer: the input is our count from before the
    call; the output is not known and counts as none.
    """
    return Usage(input_tokens=input_tokens, estimated=True, service_tier=service_tier)


def orphaned_call(lost: LostCall) -> LlmCall:
    """Return the booking of a call whose answer was lost with its worker, at the prices of its beginning.

    An earlier build had the shipped prices only.
    """
    usage = lost_usage(lost.call.input_tokens, lost.call.service_tier)
    return _booking(
        lost.call,
        usage,
        lost.call.input_charge or charge(PRICED_MODELS[lost.call.model], usage),
        attempt=lost.number,
        duration_us=0,
        error="orphaned",
        orphaned=True,
    )


def _booking(begun: BegunCall, usage: Usage, cost: Charge, **ended: Any) -> LlmCall:
    return LlmCall(
        call_id=begun.call_id,
        provider=begun.provider,
        request_model=begun.model,
        started_at=begun.started_at,
        usage=usage,
        cost_usd=cost.cost_usd,
        price_version=cost.price_version,
        long_context=cost.long_context,
        **ended,
    )


class CallProgress(Generic[C, A]):
    """One provider call between its entry in the journal and its booking.

    `prices` are those of its beginning, which it is booked at. `started` is when it began, on the monotonic
    clock, in seconds.
    """

    def __init__(
        self, call: C, model: Model, begun: BegunCall, *, prices: ModelCatalogue, number: int, started: float
    ) -> None:
        self.call = call
        self.model = model
        self.number = number
        self.answer: A | None = None
        self._begun = begun
        self._prices = prices
        self._started = started
        self._first_text_at: float | None = None
        self._text: list[str] = []
        self._usage: Usage | None = None
        self._response_model: str | None = None

    def take(self, event: TextDelta | UsageKnown | A, now: float) -> None:
        """Take what comes next. `now` is on the monotonic clock."""
        if isinstance(event, TextDelta):
            if self._first_text_at is None:
                self._first_text_at = now
            self._text.append(event.text)
        elif isinstance(event, UsageKnown):
            self._usage, self._response_model = event.usage, event.model
        else:
            self.answer = event

    @property
    def begun(self) -> bool:
        """Whether text has come."""
        return self._first_text_at is not None

    @property
    def text(self) -> str:
        """The text that has come."""
        return "".join(self._text)

    @property
    def response_model(self) -> str:
        """The model that answers, as far as is known."""
        return self._response_model or self.call.model

    def spent(self) -> Usage:
        """Return what a call that ends here has spent.

        What the provider has reported counts; the rest is our own count of the prompt and of the text that
        came. Of an answer that comes whole, nothing has come: the prompt alone is counted, which is a lower
        bound.
        """
        return estimate(
            input_tokens=self.call.input_tokens,
            text=self.text,
            reported=self._usage,
            service_tier=asked_tier(self.call),
        )

    def answered(self, answer: A, now: float) -> LlmCall:
        """Return the booking of a call that was answered."""
        return self._booked(
            answer.usage, now, response_model=answer.model, finish_reason=answer.finish_reason
        )

    def failed(self, fault: ProviderFault, now: float) -> LlmCall:
        """Return the booking of a call that failed: what is known, or estimated, to be spent."""
        return self._booked(
            fault.billed_usage or Usage(), now, response_model=fault.response_model, error=fault.error
        )

    def cut_off(self, error: str, now: float) -> LlmCall:
        """Return the booking of a call that Headrace ended itself; `error` says why."""
        return self._booked(self.spent(), now, response_model=self._response_model, error=error)

    def _booked(
        self,
        usage: Usage,
        now: float,
        *,
        response_model: str | None,
        finish_reason: str | None = None,
        error: str | None = None,
    ) -> LlmCall:
        first = self._first_text_at
        return _booking(
            self._begun,
            usage,
            charge(self._prices.priced_as(self.model, response_model), usage),
            attempt=self.number,
            response_model=response_model,
            duration_us=_microseconds(now - self._started),
            time_to_first_token_us=None if first is None else _microseconds(first - self._started),
            finish_reason=finish_reason,
            error=error,
        )


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)

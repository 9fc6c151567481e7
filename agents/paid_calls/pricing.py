"""What a provider call costs, and its booking.

price(Usage(input_tokens=1_000, output_tokens=200), request_model="gpt-4o")  # Decimal("0.0045")
"""

from decimal import Decimal

from agents.stores.journal_entries import BegunCall, LostCall
from streams.events import LlmCall, Usage
from streams.models import PRICE_VERSION, PRICED_MODELS, Model


def price(usage: Usage, *, request_model: str, response_model: str | None = None) -> Decimal:
    """Return the cost in US dollars; zero for a model without a price."""
    model = _priced_model(request_model, response_model)
    if model is None:
        return Decimal(0)
    return model.cost_usd(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        service_tier=usage.service_tier,
    )


def _priced_model(request_model: str, response_model: str | None) -> Model | None:
    """Return the model whose prices count: the one that answered, where the table has it.

    A dated snapshot such as ``gpt-4o-2024-08-06`` is not in the table: then it is the model asked for.
    """
    return PRICED_MODELS.get(response_model or "") or PRICED_MODELS.get(request_model)


def priced_call(
    begun: BegunCall,
    usage: Usage,
    *,
    number: int,
    response_model: str | None = None,
    duration_us: int = 0,
    time_to_first_token_us: int | None = None,
    finish_reason: str | None = None,
    error: str | None = None,
    orphaned: bool = False,
) -> LlmCall:
    """Return the booking of a call that has spent `usage`."""
    model = _priced_model(begun.model, response_model)
    return LlmCall(
        call_id=begun.call_id,
        attempt=number,
        provider=begun.provider,
        request_model=begun.model,
        response_model=response_model,
        started_at=begun.started_at,
        duration_us=duration_us,
        time_to_first_token_us=time_to_first_token_us,
        usage=usage,
        cost_usd=price(usage, request_model=begun.model, response_model=response_model),
        price_version=PRICE_VERSION,
        long_context=model is not None and model.is_long(usage.input_tokens),
        finish_reason=finish_reason,
        error=error,
        orphaned=orphaned,
    )


def orphaned_call(lost: LostCall) -> LlmCall:
    """Return the booking of a call whose answer was lost with its worker.

    The cost is an estimate, and a lower bound where the provider did answer: the input is our count from
    before the call; the output is not known and counts as none.
    """
    begun = lost.call
    usage = Usage(input_tokens=begun.input_tokens, estimated=True, service_tier=begun.service_tier)
    return priced_call(begun, usage, number=lost.number, error="orphaned", orphaned=True)

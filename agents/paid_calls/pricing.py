"""What each call cost, as it is booked."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from agents.llm.routing import Route
from agents.providers.faults import ProviderFault
from agents.providers.port import Answer
from agents.stores.journal import LostCall
from streams.events import LlmCall, Usage
from streams.models import PRICE_VERSION, PRICED_MODELS, Model


class CallTimes(msgspec.Struct, frozen=True, kw_only=True):
    """When a call began, and how long it took. `first_token_us` is there where the answer streamed."""

    started_at: datetime
    duration_us: int
    first_token_us: int | None = None


def price(
    usage: Usage,
    *,
    request_model: str,
    response_model: str | None = None,
    models: Mapping[str, Model] = PRICED_MODELS,
) -> Decimal:
    """Return the cost in US dollars.

    The model that answered sets the price where the table knows it. A dated snapshot such as
    ``gpt-4o-2024-08-06`` is not in the table: the model asked for sets its price.
    """
    model = _priced_model(request_model, response_model, models)
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


def is_long(usage: Usage, *, request_model: str, response_model: str | None = None) -> bool:
    """Return whether a call is priced as one with a long prompt."""
    model = _priced_model(request_model, response_model, PRICED_MODELS)
    return model is not None and model.is_long(usage.input_tokens)


def _priced_model(
    request_model: str, response_model: str | None, models: Mapping[str, Model]
) -> Model | None:
    return models.get(response_model or "") or models.get(request_model)


def answered(route: Route, answer: Answer, *, call_id: str, number: int, times: CallTimes) -> LlmCall:
    """Return the entry for a call that was answered."""
    return LlmCall(
        call_id=call_id,
        attempt=number,
        provider=route.model.provider,
        request_model=route.model.name,
        response_model=answer.model,
        started_at=times.started_at,
        duration_us=times.duration_us,
        time_to_first_token_us=times.first_token_us,
        usage=answer.usage,
        cost_usd=price(answer.usage, request_model=route.model.name, response_model=answer.model),
        price_version=PRICE_VERSION,
        long_context=is_long(answer.usage, request_model=route.model.name, response_model=answer.model),
        finish_reason=answer.finish_reason,
    )


def failed(route: Route, fault: ProviderFault, *, call_id: str, number: int, times: CallTimes) -> LlmCall:
    """Return the entry for a call that failed: it costs what is known, or estimated, to be spent."""
    return cut_off(
        route,
        fault.billed_usage or Usage(),
        error=fault.error,
        response_model=fault.response_model,
        call_id=call_id,
        number=number,
        times=times,
    )


def cut_off(
    route: Route,
    usage: Usage,
    *,
    error: str,
    response_model: str | None,
    call_id: str,
    number: int,
    times: CallTimes,
) -> LlmCall:
    """Return the entry for a call that brought no answer and has spent `usage` all the same."""
    return LlmCall(
        call_id=call_id,
        attempt=number,
        provider=route.model.provider,
        request_model=route.model.name,
        response_model=response_model,
        started_at=times.started_at,
        duration_us=times.duration_us,
        time_to_first_token_us=times.first_token_us,
        usage=usage,
        cost_usd=price(usage, request_model=route.model.name, response_model=response_model),
        price_version=PRICE_VERSION,
        long_context=is_long(usage, request_model=route.model.name, response_model=response_model),
        error=error,
    )


def orphaned(lost: LostCall) -> LlmCall:
    """Return the entry for a call whose answer was lost with its worker.

    What it cost is an estimate, and a lower bound where the provider did answer: the input is what we
    counted before the call, the output is not known and counts as none.
    """
    call = lost.call
    usage = Usage(input_tokens=call.input_tokens, estimated=True, service_tier=call.service_tier)
    return LlmCall(
        call_id=call.call_id,
        attempt=lost.number,
        provider=call.provider,
        request_model=call.model,
        started_at=call.started_at,
        duration_us=0,
        usage=usage,
        cost_usd=price(usage, request_model=call.model),
        price_version=PRICE_VERSION,
        error="orphaned",
        orphaned=True,
    )

"""From an event to the call that a provider gets."""

from typing import Any

from agents.paid_calls.pseudonyms import hashed_user, pseudonym
from agents.paid_calls.route import Route
from agents.providers.provider import ProviderCall, Timeouts
from streams.events import CacheMissed, ChatRequested, Envelope

_JSON_FORMATS = frozenset({"json_object", "json_schema"})
_REASONING = ("reasoning_effort", "thinking")


def provider_call(
    event: CacheMissed,
    route: Route,
    *,
    call_id: str,
    input_tokens: int,
    timeouts: Timeouts,
    default_temperature: float,
) -> ProviderCall:
    """Return the call to make."""
    request = event.envelope.request
    return ProviderCall(
        call_id=call_id,
        model=route.model.name,
        messages=event.messages,
        max_output_tokens=route.max_output_tokens,
        timeouts=timeouts,
        stream=request.stream,
        input_tokens=input_tokens,
        temperature=_temperature(request, default_temperature),
        top_p=request.top_p,
        stop=request.stop or (),
        seed=request.seed,
        response_format=request.response_format,
        tools=request.tools or (),
        tool_choice=request.tool_choice,
        user=hashed_user(event.envelope),
        params=_params(event.envelope),
        metadata=request.metadata,
    )


def _params(envelope: Envelope) -> dict[str, Any]:
    params = envelope.request.params or {}
    if "safety_identifier" not in params:
        return params
    return {**params, "safety_identifier": pseudonym(envelope.tenant, params["safety_identifier"])}


def _temperature(request: ChatRequested, default: float) -> float | None:
    """Return the temperature; None leaves it to the provider.

    It is left to the provider where the sender chose `top_p` instead, or how the model reasons: reasoning
    models take no temperature but 1.
    """
    chosen = request.temperature is not None or request.top_p is not None
    if chosen or any(name in (request.params or {}) for name in _REASONING):
        return request.temperature
    return default


def publishes_deltas(request: ChatRequested) -> bool:
    """Tell whether the answer is published while it is written.

    Structured answers and answers with tools are checked whole first.
    """
    structured = (request.response_format or {}).get("type") in _JSON_FORMATS
    return request.stream and not structured and not request.tools

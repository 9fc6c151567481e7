"""From an event to the call that a provider gets."""

import hashlib
from typing import Any

from agents.llm.routing import Route
from agents.paid_calls.policy import LlmPolicy
from agents.providers.port import ProviderCall, Timeouts
from streams.events import CacheMissed, ChatRequested, Envelope

_JSON_FORMATS = frozenset({"json_object", "json_schema"})
_USER_HASH_CHARS = 32
_REASONING = ("reasoning_effort", "thinking")


def provider_call(
    event: CacheMissed,
    route: Route,
    *,
    call_id: str,
    input_tokens: int,
    timeouts: Timeouts,
    policy: LlmPolicy,
) -> ProviderCall:
    """Return the call to make."""
    request = event.envelope.request
    return ProviderCall(
        call_id=call_id,
        model=route.model.name,
        messages=event.messages,
        max_output_tokens=route.max_output_tokens,
        timeouts=timeouts,
        input_tokens=input_tokens,
        temperature=_temperature(request, policy),
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
    return {**params, "safety_identifier": _hashed(envelope.tenant, params["safety_identifier"])}


def _temperature(request: ChatRequested, policy: LlmPolicy) -> float | None:
    """Return the temperature; None leaves it to the provider.

    So it is where the sender chose `top_p` instead, or how the model reasons: such models take none but 1.
    """
    chosen = request.temperature is not None or request.top_p is not None
    if chosen or any(name in (request.params or {}) for name in _REASONING):
        return request.temperature
    return policy.default_temperature


def hashed_user(envelope: Envelope) -> str:
    """Return a stable name for the user that tells a provider nothing about who it is."""
    return _hashed(envelope.tenant, envelope.user_id)


def _hashed(tenant: str, name: str) -> str:
    return hashlib.sha256(f"{tenant}\x00{name}".encode()).hexdigest()[:_USER_HASH_CHARS]


def publishes_deltas(request: ChatRequested) -> bool:
    """Tell whether the answer is published while it is written.

    Structured answers and answers with tools are checked whole first.
    """
    structured = (request.response_format or {}).get("type") in _JSON_FORMATS
    return request.stream and not structured and not request.tools

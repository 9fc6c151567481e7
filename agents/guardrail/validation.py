"""Whether a request can be served at all: the rules of the door, and what only the guardrail can tell."""

import msgspec

from agents.checks.response_format import schema_problem
from streams.codec import encode
from streams.errors import InvalidRequest
from streams.events import ChatRequested
from streams.models import MODELS
from streams.request_rules.chat import check_chat
from streams.tokens import count_messages, count_text


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a request may be."""

    max_input_tokens: int
    max_output_tokens: int
    max_request_bytes: int
    extra_parameters: tuple[str, ...] = ()


def validate(request: ChatRequested, limits: RequestLimits) -> int:
    """Check a request and return its estimated number of input tokens.

    Raises:
        InvalidRequest: the first thing found wrong, with the field and what it must be.
    """
    check_size(request, limits.max_request_bytes)
    check_chat(
        request,
        max_tokens_per_request=limits.max_output_tokens,
        extra_parameters=limits.extra_parameters,
    )
    problem = schema_problem(request.response_format)
    if problem is not None:
        raise InvalidRequest(problem, code="invalid_response_format", param="response_format")
    _check_model_limit(request)
    return _check_tokens(request, limits)


def check_size(request: ChatRequested, most: int, *, what: str = "the request") -> None:
    """Check how many bytes a request has.

    Raises:
        InvalidRequest: more than `most`.
    """
    size = len(encode(request))
    if size > most:
        raise InvalidRequest(f"{what} has {size} bytes; the limit is {most}", code="request_too_large")


def _check_model_limit(request: ChatRequested) -> None:
    if request.model is None or request.max_tokens is None:
        return
    most = MODELS[request.model].max_output_tokens
    if request.max_tokens > most:
        raise InvalidRequest(
            f"max_tokens must be at most {most} for {request.model}", code="invalid_value", param="max_tokens"
        )


def _check_tokens(request: ChatRequested, limits: RequestLimits) -> int:
    if request.messages is not None:
        tokens = count_messages([msgspec.to_builtins(message) for message in request.messages])
    else:
        tokens = count_text(request.query or "")
        tokens += sum(count_text(value) for value in (request.variables or {}).values())
    most = limits.max_input_tokens
    if request.model:
        most = min(most, MODELS[request.model].context_window_tokens)
    if tokens > most:
        raise InvalidRequest(
            f"the input has about {tokens} tokens; the limit is {most}: shorten it",
            code="context_length_exceeded",
            param="messages" if request.messages else "query",
        )
    return tokens

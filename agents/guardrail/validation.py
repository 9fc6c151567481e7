"""Whether a request can be served at all: shape, limits, known model. Each refusal says what to change."""

import msgspec

from agents.output.structured import check_response_format
from streams.codec import encode
from streams.errors import InvalidRequest
from streams.events import ChatRequested
from streams.models import MODELS
from streams.tokens import count_messages, count_text


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a request may be."""

    max_input_tokens: int
    max_output_tokens: int
    max_request_bytes: int


def validate(request: ChatRequested, limits: Limits) -> int:
    """Check a request and return its estimated number of input tokens.

    Raises:
        InvalidRequest: the first thing found wrong, with the field and what it must be.
    """
    _check_text(request)
    _check_model(request, limits)
    size = len(encode(request))
    if size > limits.max_request_bytes:
        raise InvalidRequest(
            f"the request has {size} bytes; the limit is {limits.max_request_bytes}",
            code="request_too_large",
        )
    _check_formats(request)
    return _check_tokens(request, limits)


def _check_text(request: ChatRequested) -> None:
    if request.messages is not None and request.query is not None:
        raise InvalidRequest("give either query or messages, not both", param="query")
    if request.messages is not None and request.template is not None:
        raise InvalidRequest("template goes with query, not with messages", param="template")
    if request.messages is None and not (request.query or "").strip():
        raise InvalidRequest("give a query that is not empty, or messages", param="query")
    if request.messages is not None:
        _check_messages(request)


def _check_messages(request: ChatRequested) -> None:
    messages = request.messages or ()
    if messages[0].role not in ("system", "developer", "user"):
        raise InvalidRequest(
            "the first message must be from system, developer or user", param="messages[0].role"
        )
    for index, message in enumerate(messages):
        if message.role == "tool" and not message.tool_call_id:
            raise InvalidRequest(
                "a tool message needs a tool_call_id", param=f"messages[{index}].tool_call_id"
            )
        if not message.text.strip() and not message.tool_calls:
            raise InvalidRequest("a message must not be empty", param=f"messages[{index}].content")


def _check_model(request: ChatRequested, limits: Limits) -> None:
    if request.model is not None and request.model not in MODELS:
        known = ", ".join(sorted(MODELS))
        raise InvalidRequest(
            f"the model {request.model!r} does not exist; known models: {known}",
            code="model_not_found",
            param="model",
        )
    if request.max_tokens is None:
        return
    model_limit = MODELS[request.model].max_output_tokens if request.model else limits.max_output_tokens
    most = min(limits.max_output_tokens, model_limit)
    if request.max_tokens > most:
        raise InvalidRequest(f"max_tokens must be at most {most}", code="invalid_value", param="max_tokens")


def _check_formats(request: ChatRequested) -> None:
    problem = check_response_format(request.response_format)
    if problem is not None:
        raise InvalidRequest(problem, code="invalid_response_format", param="response_format")
    for index, tool in enumerate(request.tools or ()):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict) or not function.get("name"):
            raise InvalidRequest(
                'a tool must be {"type": "function", "function": {"name": …}}', param=f"tools[{index}]"
            )


def _check_tokens(request: ChatRequested, limits: Limits) -> int:
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

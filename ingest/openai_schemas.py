"""The body of OpenAI's Chat Completions, and what of it the pipeline can keep.

A parameter that would change the answer and that the pipeline does not know is refused by name: an answer
that silently ignored it would be a wrong answer. Parameters that cannot change the answer are accepted.
"""

from typing import Any

import msgspec
from msgspec import Struct

from ingest.errors import ApiError, invalid
from ingest.schemas import DEFAULT_USER, CacheWish, Messages, Seed, StopSequence, Temperature, TopP
from streams.events import ChatRequested, Message, Name


class StreamOptions(Struct, frozen=True, kw_only=True):
    """Whether the usage comes as the last chunk."""

    include_usage: bool | None = None


class CompletionBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/chat/completions` takes."""

    messages: Messages
    model: Name | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: StopSequence | tuple[StopSequence, ...] | None = None
    seed: Seed | None = None
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Name | None = None
    metadata: dict[str, Any] | None = None
    # Ours, which no provider gets.
    headrace_cache: CacheWish | None = None
    # Accepted: they cannot change the answer.
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None
    # Accepted at the value that means "as usual", refused otherwise.
    n: int | None = None
    logprobs: bool | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    modalities: tuple[str, ...] | None = None
    parallel_tool_calls: bool | None = None
    # Refused.
    top_logprobs: Any = None
    audio: Any = None
    functions: Any = None
    function_call: Any = None
    moderation: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None


_REFUSED: dict[str, str] = {
    "top_logprobs": "top_logprobs is not supported: answers come without log probabilities",
    "audio": "audio is not supported",
    "functions": "functions are not supported: use tools",
    "function_call": "function_call is not supported: use tool_choice",
    "moderation": "moderation by OpenAI is not supported: the guardrails check input and output",
    "prediction": "prediction is not supported: leave predicted outputs out",
    "reasoning_effort": "reasoning_effort is not supported",
    "verbosity": "verbosity is not supported",
    "web_search_options": "web_search_options is not supported: models do not search the web",
}


def completion_request(
    body: CompletionBody, *, user_header: str | None, stream: bool, deadline_ms: int | None
) -> ChatRequested:
    """Return the event for a Chat Completions body.

    Args:
        body: what the client sent.
        user_header: the header `X-Headrace-User`; it goes before the field `user`.
        stream: whether the answer is streamed.
        deadline_ms: how long the answer may take.

    Raises:
        ApiError: 400, a parameter that is not supported.
    """
    _refuse_unsupported(body)
    if body.stream_options is not None and not stream:
        raise _unsupported("stream_options", "stream_options is only allowed when stream is true")
    return ChatRequested(
        user_id=user_header or body.user or DEFAULT_USER,
        messages=tuple(_as_sent_by_hand(message) for message in body.messages),
        model=body.model,
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=_max_tokens(body),
        stop=(body.stop,) if isinstance(body.stop, str) else body.stop,
        seed=body.seed,
        response_format=body.response_format,
        tools=body.tools,
        tool_choice=body.tool_choice,
        stream=stream,
        deadline_ms=deadline_ms,
        metadata=body.metadata,
        headrace_cache=body.headrace_cache,
    )


def _as_sent_by_hand(message: Message) -> Message:
    """Return the message without what OpenAI's clients add to tool calls when they put a stream together.

    They hand them back so: with the `index` of the stream, and with `parsed_arguments`. OpenAI refuses both.
    """
    if not message.tool_calls:
        return message
    calls = tuple(_without_additions(call) for call in message.tool_calls)
    return msgspec.structs.replace(message, tool_calls=calls)


def _without_additions(call: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in call.items() if name != "index"}
    if isinstance(function := call.get("function"), dict):
        kept["function"] = {name: value for name, value in function.items() if name != "parsed_arguments"}
    return kept


def _refuse_unsupported(body: CompletionBody) -> None:
    for name, why in _REFUSED.items():
        if getattr(body, name) is not None:
            raise _unsupported(name, why)
    for name, why in _as_usual(body):
        raise _unsupported(name, why)


def _as_usual(body: CompletionBody) -> list[tuple[str, str]]:
    checks: list[tuple[str, bool, str]] = [
        ("n", body.n not in (None, 1), "n must be 1: one request has one answer"),
        (
            "logprobs",
            bool(body.logprobs),
            "logprobs is not supported: answers come without log probabilities",
        ),
        ("presence_penalty", bool(body.presence_penalty), "presence_penalty is not supported; leave it at 0"),
        (
            "frequency_penalty",
            bool(body.frequency_penalty),
            "frequency_penalty is not supported; leave it at 0",
        ),
        ("logit_bias", bool(body.logit_bias), "logit_bias is not supported"),
        ("modalities", body.modalities not in (None, ("text",)), 'modalities must be ["text"]'),
        (
            "parallel_tool_calls",
            body.parallel_tool_calls is False and bool(body.tools),
            "parallel_tool_calls cannot be switched off",
        ),
        (
            "tool_choice",
            isinstance(body.tool_choice, dict) and body.tool_choice.get("type") != "function",
            'tool_choice must be none, auto, required, or a tool of the type "function"',
        ),
    ]
    return [(name, why) for name, wrong, why in checks if wrong]


def _max_tokens(body: CompletionBody) -> int | None:
    both = body.max_tokens is not None and body.max_completion_tokens is not None
    if both and body.max_tokens != body.max_completion_tokens:
        raise invalid(
            "max_tokens and max_completion_tokens differ; give one of them", param="max_completion_tokens"
        )
    return body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens


def _unsupported(param: str, message: str) -> ApiError:
    return invalid(message, param=param, code="unsupported_parameter")

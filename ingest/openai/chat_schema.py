"""The body of OpenAI's Chat Completions.

`streams.request_rules.parameter_table` says what becomes of each parameter. A parameter that cannot be kept
is refused by name: an answer that silently ignored it would be wrong.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ingest.native.schema import (
    CacheWish,
    MaxTokens,
    Seed,
    StopSequence,
    Temperature,
    TopP,
    as_messages,
)
from ingest.submit.http_message import decode_body
from streams.errors import InvalidRequest
from streams.events import ChatRequested, Message, Name
from streams.request_rules.faults import ANY_FIELD, UNSUPPORTED, unsupported
from streams.request_rules.parameter_table import OPENAI_PATHS
from streams.request_rules.parameters import UNKNOWN_HINT, Parameters, params_of
from streams.request_rules.sent_requests import SentMessages
from streams.serving.api_keys import DEFAULT_USER


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the usage comes as the last chunk."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionBody(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/chat/completions` takes."""

    messages: SentMessages
    model: Name | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
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
    # Accepted at the value that means "as usual", refused otherwise.
    n: Literal[1] | None = None
    logprobs: bool | None = None
    modalities: tuple[str, ...] | None = None
    # Refused.
    top_logprobs: None = None
    audio: None = None
    functions: None = None
    function_call: None = None
    moderation: None = None
    web_search_options: None = None


class DecodedCompletion(Struct, frozen=True):
    """A decoded body, and the extra parameters that the operator lets through."""

    body: CompletionBody
    extra: dict[str, Any]


def decode_completion(data: bytes, extra_parameters: Sequence[str] = ()) -> DecodedCompletion:
    """Return the body of a Chat Completions request, its `extra_parameters` apart; else as `decode_body`."""
    extra: dict[str, Any] = {}
    if extra_parameters:
        data, extra = _taken_out(data, extra_parameters)
    return DecodedCompletion(decode_body(data, CompletionBody, hints={ANY_FIELD: UNKNOWN_HINT}), extra)


def _taken_out(data: bytes, names: Sequence[str]) -> tuple[bytes, dict[str, Any]]:
    try:
        fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        extra = {name: msgspec.json.decode(fields.pop(name)) for name in names if name in fields}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data, {}  # decoding the body reports the fault
    return (msgspec.json.encode(fields), extra) if extra else (data, {})


def completion_request(
    completion: DecodedCompletion, *, user_header: str | None, stream: bool, deadline_ms: int | None
) -> ChatRequested:
    """Return the event for a Chat Completions body; `InvalidRequest` for an unsupported parameter."""
    body = completion.body
    _refuse_unsupported(body)
    if body.stream_options is not None and not stream:
        words = "stream_options is only allowed when stream is true"
        raise InvalidRequest(words, code=UNSUPPORTED, param="stream_options")
    return ChatRequested(
        user_id=user_header or body.user or DEFAULT_USER,
        messages=tuple(_without_sdk_additions(message) for message in as_messages(body.messages) or ()),
        model=body.model,
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=_max_tokens(body),
        stop=(body.stop,) if isinstance(body.stop, str) else body.stop,
        seed=body.seed,
        response_format=body.response_format,
        tools=body.tools,
        tool_choice=body.tool_choice,
        params={**(params_of(body) or {}), **completion.extra} or None,
        stream=stream,
        deadline_ms=deadline_ms,
        metadata=body.metadata,
        headrace_cache=body.headrace_cache,
    )


def _without_sdk_additions(message: Message) -> Message:
    """Return the message without what OpenAI's SDKs add to tool calls: `index` and `parsed_arguments`.

    SDKs hand such calls back after a stream. OpenAI's API refuses both fields.
    """
    if not message.tool_calls:
        return message
    calls = [{name: call[name] for name in call if name != "index"} for call in message.tool_calls]
    for call in calls:
        if isinstance(function := call.get("function"), dict):
            call["function"] = {name: function[name] for name in function if name != "parsed_arguments"}
    return msgspec.structs.replace(message, tool_calls=tuple(calls))


def _refuse_unsupported(body: CompletionBody) -> None:
    options = body.stream_options
    unusual = {
        "logprobs": bool(body.logprobs),
        "modalities": body.modalities not in (None, ("text",)),
        "stream_options.include_obfuscation": options is not None and bool(options.include_obfuscation),
    }
    for name, wrong in unusual.items():
        if wrong:
            raise unsupported(name, OPENAI_PATHS[name].to_openai.note)


def _max_tokens(body: CompletionBody) -> int | None:
    both = body.max_tokens is not None and body.max_completion_tokens is not None
    if both and body.max_tokens != body.max_completion_tokens:
        raise InvalidRequest(
            "max_tokens and max_completion_tokens differ; give one of them", param="max_completion_tokens"
        )
    return body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens

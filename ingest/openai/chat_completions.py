"""`POST /v1/chat/completions`: OpenAI's Chat Completions, for its official clients as they are.

`streams.request_rules.parameter_table` says what becomes of each parameter. A parameter that cannot be kept
is refused by name: an answer that silently ignored it would be wrong.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Struct
from starlette.responses import Response

from ingest.auth import CallerDep
from ingest.native.schema import (
    DEFAULT_USER,
    CacheWish,
    MaxTokens,
    Seed,
    StopSequence,
    Temperature,
    TopP,
    as_messages,
)
from ingest.openai.chat_answers import CompletionStream, completion, with_flat_fields
from ingest.openapi import ASKING, body_of
from ingest.services import Services, ServicesDep
from ingest.submit.body import decode_body, read_body
from ingest.submit.headers import deadline_header, user_header
from ingest.submit.request_reply import answer, prepare, raise_for
from streams.errors import InvalidRequest
from streams.events import ChatRequested, Message, Name, Reply
from streams.request_rules.decode_faults import ANY_FIELD, UNSUPPORTED, unsupported
from streams.request_rules.parameter_table import OPENAI_PATHS
from streams.request_rules.parameters import UNKNOWN_HINT, Parameters, params_of
from streams.request_rules.sent_requests import SentMessages
from streams.serving.api_keys import Caller

router = APIRouter(tags=["OpenAI-compatible"])

#: The roles that may begin a conversation. `developer` is OpenAI's new name for `system`.
_FIRST_ROLES = ("system", "developer", "user")


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
    n: int | None = None
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


_BODY = body_of(CompletionBody)


@router.post("/v1/chat/completions", openapi_extra=_BODY, responses=ASKING)
async def chat_completions(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Answer a conversation, as OpenAI's API does."""
    return await _complete(request, caller, services)


@router.post("/api/v1/chat/completions", openapi_extra=_BODY, responses=ASKING)
async def course_completions(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Do the same, and add the flat fields `content` and `latency_ms`."""
    return await _complete(request, caller, services, course=True)


@router.post("/api/v1/chat/completions/stream", openapi_extra=_BODY, responses=ASKING)
async def course_completions_stream(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Stream the answer, whatever the body says about `stream`."""
    return await _complete(request, caller, services, course=True, stream=True)


async def _complete(
    request: Request, caller: Caller, services: Services, *, course: bool = False, stream: bool = False
) -> Response:
    data = await read_body(request, max_bytes=services.settings.max_body_bytes)
    sent = decode_completion(data, services.settings.extra_parameters)
    body = sent.body
    if course:
        _check_as_the_course_does(body)
    wanted = completion_request(
        sent,
        user_header=user_header(request.headers),
        stream=stream or bool(body.stream),
        deadline_ms=deadline_header(request.headers),
    )
    prepared = await prepare(request, caller, wanted, services)
    created = int(time.time())
    model = body.model or services.settings.default_model

    def render(reply: Reply, latency_ms: float) -> dict[str, Any]:
        raise_for(reply)
        rendered = completion(reply, created=created, fallback_model=model, latency_ms=latency_ms)
        return with_flat_fields(rendered, reply, latency_ms=latency_ms) if course else rendered

    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    chunks = CompletionStream(prepared.request_id, model=model, created=created, include_usage=include_usage)
    return await answer(request, prepared, services, render, stream=chunks if wanted.stream else None)


def _check_as_the_course_does(body: CompletionBody) -> None:
    """Check the rules of the `/api/v1` routes beyond OpenAI's, which come from the week-1 course."""
    if body.messages[0].role not in _FIRST_ROLES:
        raise InvalidRequest(
            f"the first message must be of the role system or user, not {body.messages[0].role}",
            param="messages[0].role",
        )
    for index, message in enumerate(body.messages):
        if not message.text and not message.tool_calls and message.role != "tool":
            where = f"messages[{index}].content"
            raise InvalidRequest(f"{where} must have at least one character", param=where)


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
    """Return the event for a Chat Completions body; `InvalidRequest` for an unsupported parameter.

    The header `X-Headrace-User` goes before the field `user`.
    """
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
    calls = tuple(_without_additions(call) for call in message.tool_calls)
    return msgspec.structs.replace(message, tool_calls=calls)


def _without_additions(call: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in call.items() if name != "index"}
    if isinstance(function := call.get("function"), dict):
        kept["function"] = {name: value for name, value in function.items() if name != "parsed_arguments"}
    return kept


def _refuse_unsupported(body: CompletionBody) -> None:
    options = body.stream_options
    unusual = {
        "n": body.n not in (None, 1),
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

"""`POST /v1/chat/completions`: OpenAI's Chat Completions, for its official clients as they are."""

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.auth import SenderDep
from ingest.errors import is_repeat
from ingest.follow.answer_cursor import StreamPosition, pieces
from ingest.follow.sse import DONE, StreamFormat, sse_event
from ingest.openai.chat_schema import CompletionBody, completion_request, decode_completion
from ingest.openapi import ASKING, body_of
from ingest.services import Services, ServicesDep
from ingest.submit.http_message import deadline_header, read_body, user_header
from ingest.submit.request_reply import answer, prepare, raise_for
from streams.errors import InvalidRequest
from streams.events import ErrorInfo, Reply, Usage
from streams.model_catalogue import STANDARD_TIER
from streams.registry.entries import plain
from streams.serving.api_keys import Caller
from streams.serving.responses import error_body

router = APIRouter(tags=["OpenAI-compatible"])

_BODY = body_of(CompletionBody)
#: The roles that may begin a conversation. `developer` is OpenAI's new name for `system`.
_FIRST_ROLES = ("system", "developer", "user")
_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


@router.post("/v1/chat/completions", openapi_extra=_BODY, responses=ASKING)
async def chat_completions(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
    """Answer a conversation, as OpenAI's API does."""
    return await _complete(request, caller, services)


@router.post("/api/v1/chat/completions", openapi_extra=_BODY, responses=ASKING)
async def course_completions(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
    """Do the same, and add the flat fields `content` and `latency_ms`."""
    return await _complete(request, caller, services, course=True)


@router.post("/api/v1/chat/completions/stream", openapi_extra=_BODY, responses=ASKING)
async def course_completions_stream(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
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
        if course:  # the flat fields of the week-1 course
            rendered |= {"content": reply.content, "latency_ms": latency_ms}
            rendered["usage"] |= {
                name: getattr(reply.usage, name) for name in ("input_tokens", "output_tokens")
            }
        return rendered

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


def completion(reply: Reply, *, created: int, fallback_model: str, latency_ms: float) -> dict[str, Any]:
    """Return a `chat.completion` object, with Headrace's own fields under `headrace`."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "refusal": None}
    if reply.tool_calls:
        message |= {"content": reply.content or None, "tool_calls": reply.tool_calls}
    return {
        "id": f"chatcmpl-{reply.request_id}",
        "object": "chat.completion",
        "created": created,
        "model": reply.model or fallback_model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(reply)}
        ],
        "usage": openai_usage(reply.usage),
        "service_tier": openai_service_tier(reply.usage),
        "headrace": headrace_extension(reply, latency_ms=latency_ms),
    }


def headrace_extension(reply: Reply, *, latency_ms: float | None = None) -> dict[str, Any]:
    """Return Headrace's own fields of an answer. The official SDKs leave them alone."""
    return {
        "request_id": reply.request_id,
        "status": reply.status,
        "cost_usd": plain(reply.cost_usd),
        "usage_estimated": reply.usage.estimated,
        "cache_hit": reply.cache_hit,
        "cache_kind": reply.cache_kind,
        "cache_age_s": reply.cache_age_s,
        "prompt": reply.prompt,
        "tools_used": reply.tools_used,
        "latency_ms": latency_ms,
        "timings": reply.timings,
        "error": reply.error,
        "repeat": reply.repeat,
    }


def finish_reason(reply: Reply) -> str:
    """Return the finish reason in OpenAI's words."""
    if reply.finish_reason in _FINISH_REASONS:
        return reply.finish_reason
    return "tool_calls" if reply.tool_calls else "stop"


def openai_usage(usage: Usage) -> dict[str, Any]:
    """Return token counts under OpenAI's names."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def openai_service_tier(usage: Usage) -> str:
    """Return the service tier in OpenAI's words."""
    return "default" if usage.service_tier == STANDARD_TIER else usage.service_tier


class CompletionStream(StreamFormat):
    """`chat.completion.chunk` objects, then `data: [DONE]`."""

    def __init__(self, request_id: str, *, model: str, created: int, include_usage: bool) -> None:
        self._request_id = request_id
        self._model = model  # the one that was asked for, until the reply says which one answered
        self._created = created
        self._include_usage = include_usage

    def begin(self) -> bytes:
        """Return the chunk that names the role."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def text(self, text: str, position: StreamPosition) -> bytes:  # noqa: ARG002  # for formats with ids
        """Return the text in chunks, which have no ids: OpenAI's clients cannot resume."""
        return b"".join(self._chunk({"content": piece}) for piece in pieces(text))

    def finish(self, reply: Reply) -> bytes:
        """Return tool calls, the finish reason, the usage if wanted, and the end mark."""
        self._model = reply.model or self._model
        last = b""
        if reply.tool_calls:
            calls = [{"index": index} | call for index, call in enumerate(reply.tool_calls)]
            last += self._chunk({"tool_calls": calls})
        last += self._chunk({}, finish=finish_reason(reply), extra={"headrace": headrace_extension(reply)})
        if self._include_usage:
            last += sse_event(
                self._base()
                | {
                    "choices": [],
                    "usage": openai_usage(reply.usage),
                    "service_tier": openai_service_tier(reply.usage),
                }
            )
        return last + DONE

    def fail(self, error: ErrorInfo, reply: Reply | None) -> bytes:
        """Return the error object, which OpenAI's SDKs raise; nothing may follow."""
        return sse_event(error_body(error, self._request_id, repeat=is_repeat(reply)))

    def _base(self) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._request_id}",
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _chunk(
        self, delta: dict[str, Any], *, finish: str | None = None, extra: dict[str, Any] | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = self._base() | {"choices": [choice]} | (extra or {})
        if self._include_usage:
            chunk["usage"] = None
        return sse_event(chunk)

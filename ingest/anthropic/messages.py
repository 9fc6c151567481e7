"""`POST /v1/messages`: Anthropic's Messages, for its official clients as they are, as JSON or as events."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from ingest.anthropic.conversation import as_sent, messages_request
from ingest.anthropic.schema import MessagesBody, decode_messages
from ingest.auth import SenderDep
from ingest.errors import anthropic_error_body, is_blocked_input, is_repeat, naming_the_charge
from ingest.follow.answer_cursor import StreamPosition, pieces
from ingest.follow.sse import StreamFormat, sse_event
from ingest.openai.chat_completions import headrace_extension
from ingest.openapi import ASKING, body_of
from ingest.services import ServicesDep
from ingest.submit.http_message import deadline_header, read_body, user_header
from ingest.submit.request_reply import answer, prepare, raise_for
from streams.errors import InvalidRequest
from streams.events import ErrorInfo, Reply, Usage
from streams.request_rules.chat import MAX_JSON_DEPTH, depth_exceeds
from streams.serving.responses import NO_RETRY, ApiError

router = APIRouter(tags=["Anthropic-compatible"])
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_PING = sse_event({"type": "ping"}, name="ping")


@router.post("/v1/messages", openapi_extra=body_of(MessagesBody), responses=ASKING)
async def messages(request: Request, caller: SenderDep, services: ServicesDep) -> Response:
    """Answer a conversation, as Anthropic's API does."""
    body = decode_messages(await read_body(request, max_bytes=services.settings.max_body_bytes))
    wanted, origins = messages_request(
        body,
        user_header=user_header(request.headers),
        deadline_ms=deadline_header(request.headers),
        betas=_betas(request),
    )
    try:
        prepared = await prepare(request, caller, wanted, services)
    except (ApiError, InvalidRequest) as fault:
        raise as_sent(fault, origins) from None

    def render(reply: Reply, latency_ms: float) -> dict[str, Any]:
        raise_for(reply)
        return message(reply, fallback_model=body.model, latency_ms=latency_ms)

    stream = MessageStream(prepared.request_id, model=body.model) if wanted.stream else None
    response = await answer(request, prepared, services, render, stream=stream)
    response.headers["request-id"] = prepared.request_id  # where Anthropic's SDKs look for it
    return response


def _betas(request: Request) -> tuple[str, ...]:
    """Return the names in the header `anthropic-beta`; the request's rules check them."""
    given = ",".join(request.headers.getlist("anthropic-beta"))
    return tuple(name.strip() for name in given.split(",") if name.strip())


def message(reply: Reply, *, fallback_model: str, latency_ms: float) -> dict[str, Any]:
    """Return a `message` object; 500 where a tool was called with arguments that cannot be an `input`."""
    text = [_text_block(reply.content)] if reply.content else []
    return _message(reply.request_id, reply.model or fallback_model) | {
        "content": text
        + [_tool_use_block(call) | {"input": _input_of(call, reply)} for call in reply.tool_calls],
        **_ending(reply),
        "usage": anthropic_usage(reply.usage),
        "headrace": headrace_extension(reply, latency_ms=latency_ms),
    }


def stop_reason(reply: Reply) -> str:
    """Return the finish reason in Anthropic's words."""
    if reply.tool_calls and reply.finish_reason != "content_filter":
        return "tool_use"
    # After a stop sequence, too, it is `end_turn`: not every provider says that it was one, or which one.
    return _STOP_REASONS.get(reply.finish_reason or "stop", "end_turn")


def anthropic_usage(usage: Usage) -> dict[str, Any]:
    """Return token counts under Anthropic's names: `input_tokens` leaves out cached and written ones."""
    written, hourly = usage.cache_write_tokens, usage.cache_write_1h_tokens
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - hourly,
            "ephemeral_1h_input_tokens": hourly,
        },
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": usage.service_tier,
    }


class MessageStream(StreamFormat):
    """`message_start`, the content block by block, `message_delta` with the usage, `message_stop`."""

    def __init__(self, request_id: str, *, model: str) -> None:
        self._request_id = request_id
        self._model = model  # the one that was asked for: the stream begins before one answers
        self._text_is_open = False
        self._blocks = 0

    def begin(self) -> bytes:
        """Return the message without content; its usage is not known before the end."""
        return _event(
            "message_start",
            message=_message(self._request_id, self._model) | {"usage": anthropic_usage(Usage())},
        )

    def text(self, text: str, position: StreamPosition) -> bytes:  # noqa: ARG002  # for formats with ids
        """Return the text in deltas, which have no ids: Anthropic's clients cannot resume."""
        start = b""
        if not self._text_is_open:
            start = _event("content_block_start", index=self._blocks, content_block=_text_block("")) + _PING
            self._text_is_open = True
        return start + b"".join(self._delta(type="text_delta", text=piece) for piece in pieces(text))

    def finish(self, reply: Reply) -> bytes:
        """Return tool calls, the stop reason, the usage, and the end."""
        try:
            calls = [
                (call, msgspec.json.encode(_input_of(call, reply)).decode()) for call in reply.tool_calls
            ]
        except ApiError as fault:
            return self.fail(fault.error, reply)
        return self._close_text() + b"".join(self._tool_use(*call) for call in calls) + self._end(reply)

    def fail(self, error: ErrorInfo, reply: Reply | None) -> bytes:
        """Return the error, which Anthropic's SDKs raise; nothing may follow.

        An answer that was withdrawn is no error to them but the stop reason `refusal`, which says that the
        text so far does not count.
        """
        if error.code == "content_filter" and reply is not None and not is_blocked_input(reply):
            return self._close_text() + self._end(msgspec.structs.replace(reply, finish_reason=error.code))
        body = anthropic_error_body(error, self._request_id, repeat=is_repeat(reply))
        return sse_event(body, name="error")

    def heartbeat(self) -> bytes:
        """Return a `ping`, as Anthropic does."""
        return _PING

    def _tool_use(self, call: dict[str, Any], arguments: str) -> bytes:
        start = _event("content_block_start", index=self._blocks, content_block=_tool_use_block(call))
        return start + self._delta(type="input_json_delta", partial_json=arguments) + self._stop_block()

    def _delta(self, **delta: str) -> bytes:
        return _event("content_block_delta", index=self._blocks, delta=delta)

    def _close_text(self) -> bytes:
        if not self._text_is_open:
            return b""
        self._text_is_open = False
        return self._stop_block()

    def _stop_block(self) -> bytes:
        stop = _event("content_block_stop", index=self._blocks)
        self._blocks += 1
        return stop

    def _end(self, reply: Reply) -> bytes:
        end = _event(
            "message_delta",
            delta=_ending(reply),
            usage=anthropic_usage(reply.usage),
            headrace=headrace_extension(reply),
        )
        return end + _event("message_stop")


def _message(request_id: str, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{request_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
    }


def _ending(reply: Reply) -> dict[str, Any]:
    reason = stop_reason(reply)
    details = None
    if reason == "refusal":
        why = reply.error.message if reply.error else "the output check withdrew the answer"
        details = {"type": "refusal", "category": None, "explanation": why}
    return {"stop_reason": reason, "stop_sequence": None, "stop_details": details}


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": None}


def _tool_use_block(call: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": call.get("id", ""),
        "name": call.get("function", {}).get("name", ""),
        "input": {},
    }


def _input_of(call: dict[str, Any], reply: Reply) -> dict[str, Any]:
    function = call.get("function", {})
    try:
        given = msgspec.json.decode(function.get("arguments") or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        given = None
    if given is not None and not depth_exceeds(given, MAX_JSON_DEPTH):
        return given
    why = "are no JSON object" if given is None else f"are nested deeper than {MAX_JSON_DEPTH} levels"
    message = f"the model called the tool {function.get('name', '')!r} with arguments that {why}; ask again"
    error = ErrorInfo(type="api_error", code="invalid_tool_arguments", message=message)
    raise ApiError(500, naming_the_charge(error, reply), headers=NO_RETRY)


def _event(kind: str, **fields: Any) -> bytes:
    return sse_event({"type": kind} | fields, name=kind)

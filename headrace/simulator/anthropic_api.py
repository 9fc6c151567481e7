"""The Anthropic API: headers, errors, and messages as it sends them, whole and streamed."""

from typing import Any

import msgspec

from headrace.simulator.anthropic_request import read_message_request
from headrace.simulator.chat_task import ChatTask
from headrace.simulator.generate import (
    ChunkChars,
    Generation,
    OutputBlock,
    StopCause,
    pieces,
)
from headrace.simulator.request_validation import ErrorReply
from headrace.simulator.simulated_call import (
    ProviderApi,
    ReplyHead,
    StreamFrame,
    StreamScript,
    bearer_token,
)
from streams.model_catalogue import ProviderProtocol

_STOP_REASONS = {
    StopCause.STOP: "end_turn",
    StopCause.STOP_SEQUENCE: "stop_sequence",
    StopCause.LENGTH: "max_tokens",
    StopCause.TOOL_CALLS: "tool_use",
}


def _message_body(task: ChatTask, made: Generation, head: ReplyHead) -> bytes:
    content = [_whole_block(block, head, index) for index, block in enumerate(made.blocks)]
    return msgspec.json.encode(_message(task, head, content, made.output_tokens) | _stopped(made))


def _message(task: ChatTask, head: ReplyHead, content: list[Any], output_tokens: int) -> dict[str, Any]:
    return {
        "id": head.call_id,
        "type": "message",
        "role": "assistant",
        "model": task.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(task, head, output_tokens),
    }


def _stopped(made: Generation) -> dict[str, str | None]:
    return {"stop_reason": _STOP_REASONS[made.stopped], "stop_sequence": made.stop_sequence}


def _usage(task: ChatTask, head: ReplyHead, output_tokens: int) -> dict[str, Any]:
    # Unlike OpenAI's, these input tokens do not include the cached ones.
    return {
        "input_tokens": task.input_tokens - head.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": head.cached_tokens,
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _empty_block(block: OutputBlock, head: ReplyHead, index: int) -> dict[str, Any]:
    if block.tool is None:
        return {"type": "text", "text": ""}
    return {"type": "tool_use", "id": f"toolu_{head.call_id[-20:]}{index}", "name": block.tool, "input": {}}


def _whole_block(block: OutputBlock, head: ReplyHead, index: int) -> dict[str, Any]:
    empty = _empty_block(block, head, index)
    if block.tool is None:
        return empty | {"text": block.text}
    try:
        return empty | {"input": msgspec.json.decode(block.text)}
    except msgspec.DecodeError:  # cut by max_tokens
        return empty


def _message_stream(
    task: ChatTask, made: Generation, head: ReplyHead, chunk_chars: ChunkChars
) -> StreamScript:
    frames: list[StreamFrame] = []
    for index, block in enumerate(made.blocks):
        frames += _block_frames(block, head, index, chunk_chars)
    usage = _usage(task, head, made.output_tokens)
    return StreamScript(
        opening=_event("message_start", message=_message(task, head, [], 1)) + _event("ping"),
        frames=tuple(frames),
        closing=_event("message_delta", delta=_stopped(made), usage=usage) + _event("message_stop"),
    )


def _block_frames(
    block: OutputBlock, head: ReplyHead, index: int, chunk_chars: ChunkChars
) -> list[StreamFrame]:
    kind, name = ("text_delta", "text") if block.tool is None else ("input_json_delta", "partial_json")
    # A block without a piece is one frame, so that its start and stop are sent.
    split = pieces(block.text, chunk_chars) or [""]
    deltas = [
        _event("content_block_delta", index=index, delta={"type": kind, name: piece}) for piece in split
    ]
    start = _event("content_block_start", index=index, content_block=_empty_block(block, head, index))
    deltas[0] = start + deltas[0]
    deltas[-1] += _event("content_block_stop", index=index)
    return [StreamFrame(data, index, piece) for data, piece in zip(deltas, split, strict=True)]


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def _error_body(error: ErrorReply, request_id: str = "") -> bytes:
    named = {"type": _ERROR_TYPES.get(error.status, "api_error"), "message": error.message}
    return msgspec.json.encode({"type": "error", "error": named, "request_id": request_id})


ANTHROPIC = ProviderApi(
    provider=ProviderProtocol.ANTHROPIC,
    request_id_header="request-id",
    id_prefix="msg_",
    overloaded_status=529,
    api_key=lambda headers: headers.get("x-api-key") or bearer_token(headers),
    read_chat=read_message_request,
    whole_reply=_message_body,
    stream_script=_message_stream,
    error_body=_error_body,
    error_event=lambda error: b"event: error\ndata: " + _error_body(error) + b"\n\n",
    broken_event=b'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n',
)

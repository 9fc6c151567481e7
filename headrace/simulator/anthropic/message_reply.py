"""Messages as the Anthropic API sends them, whole and streamed."""

from typing import Any

import msgspec

from headrace.simulator.error_reply import encode
from headrace.simulator.generation.chat_task import ChatTask
from headrace.simulator.generation.generate import Generation, OutputBlock, SaidText, StopCause
from headrace.simulator.generation.stream_script import ReplyHead, StreamFrame, StreamScript
from headrace.simulator.generation.token_pieces import pieces
from headrace.simulator.provider_api import ChunkChars

_STOP_REASONS = {
    StopCause.STOP: "end_turn",
    StopCause.STOP_SEQUENCE: "stop_sequence",
    StopCause.LENGTH: "max_tokens",
    StopCause.TOOL_CALLS: "tool_use",
}


def message_body(task: ChatTask, made: Generation, head: ReplyHead) -> bytes:
    """Return the body of a call that does not stream."""
    content = [_whole_block(block, head, index) for index, block in enumerate(made.blocks)]
    return encode(_message(task, head, content, made.output_tokens) | _stopped(made))


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
    if isinstance(block, SaidText):
        return {"type": "text", "text": ""}
    return {"type": "tool_use", "id": f"toolu_{head.call_id[-20:]}{index}", "name": block.name, "input": {}}


def _whole_block(block: OutputBlock, head: ReplyHead, index: int) -> dict[str, Any]:
    empty = _empty_block(block, head, index)
    if isinstance(block, SaidText):
        return empty | {"text": block.text}
    try:
        return empty | {"input": msgspec.json.decode(block.arguments)}
    except msgspec.DecodeError:  # cut by max_tokens
        return empty


def message_stream(
    task: ChatTask, made: Generation, head: ReplyHead, chunk_chars: ChunkChars
) -> StreamScript:
    """Return the events of a call that streams: start, ping, content blocks in pieces, delta, stop."""
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
    if isinstance(block, SaidText):
        kind, name, text = "text_delta", "text", block.text
    else:
        kind, name, text = "input_json_delta", "partial_json", block.arguments
    # A block without a piece is one frame, so that its start and stop are sent.
    split = pieces(text, chunk_chars) or [""]
    deltas = [
        _event("content_block_delta", index=index, delta={"type": kind, name: piece}) for piece in split
    ]
    start = _event("content_block_start", index=index, content_block=_empty_block(block, head, index))
    deltas[0] = start + deltas[0]
    deltas[-1] += _event("content_block_stop", index=index)
    return [StreamFrame(data, index, piece) for data, piece in zip(deltas, split, strict=True)]


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encode({"type": kind, **fields}) + b"\n\n"

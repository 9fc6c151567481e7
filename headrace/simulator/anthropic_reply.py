"""Messages as the Anthropic API sends them, whole and streamed."""

from typing import Any

import msgspec

from headrace.simulator.asking import Ask
from headrace.simulator.behaviour import Finish
from headrace.simulator.generation import Called, Generation, Said, pieces
from headrace.simulator.refusals import encode
from headrace.simulator.scripts import Envelope, Frame, StreamScript

_STOP_REASONS = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
    Finish.CONTENT_FILTER: "refusal",
}


def message(ask: Ask, made: Generation, envelope: Envelope) -> bytes:
    """Return the body of a call that does not stream."""
    content = [_block(block, envelope, index) for index, block in enumerate(made.blocks)]
    return encode(
        _message(ask, envelope, content, made.output_tokens)
        | {"stop_reason": _STOP_REASONS[made.finish], "stop_sequence": made.stop_sequence}
    )


def _message(ask: Ask, envelope: Envelope, content: list[Any], output_tokens: int) -> dict[str, Any]:
    return {
        "id": envelope.call_id,
        "type": "message",
        "role": "assistant",
        "model": ask.model.name,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(ask, envelope, output_tokens),
    }


def _usage(ask: Ask, envelope: Envelope, output_tokens: int) -> dict[str, Any]:
    # Unlike OpenAI's, these input tokens do not include the cached ones.
    return {
        "input_tokens": ask.input_tokens - envelope.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": envelope.cached_tokens,
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _block(block: Said | Called, envelope: Envelope, index: int) -> dict[str, Any]:
    if isinstance(block, Said):
        return {"type": "text", "text": block.text}
    try:
        arguments = msgspec.json.decode(block.arguments)
    except msgspec.DecodeError:  # cut by max_tokens
        arguments = {}
    return {"type": "tool_use", "id": _tool_id(envelope, index), "name": block.name, "input": arguments}


def _tool_id(envelope: Envelope, index: int) -> str:
    return f"toolu_{envelope.call_id[-20:]}{index}"


def stream_script(
    ask: Ask, made: Generation, envelope: Envelope, chunk_chars: int | list[int] | None
) -> StreamScript:
    """Return the events of a call that streams: start, ping, content blocks in pieces, delta, stop."""
    started = _message(ask, envelope, [], 1)
    opening = _event("message_start", {"message": started})
    frames: list[Frame] = []
    for index, block in enumerate(made.blocks):
        frames += _block_frames(block, envelope, index, chunk_chars)
    closing = _event(
        "message_delta",
        {
            "delta": {"stop_reason": _STOP_REASONS[made.finish], "stop_sequence": made.stop_sequence},
            "usage": _usage(ask, envelope, made.output_tokens),
        },
    )
    return StreamScript(
        opening=opening + _event("ping", {}),
        frames=tuple(frames),
        closing=closing + _event("message_stop", {}),
    )


def _block_frames(
    block: Said | Called, envelope: Envelope, index: int, chunk_chars: int | list[int] | None
) -> list[Frame]:
    if isinstance(block, Said):
        start: dict[str, Any] = {"type": "text", "text": ""}
        kind, name, text = "text_delta", "text", block.text
    else:
        start = {"type": "tool_use", "id": _tool_id(envelope, index), "name": block.name, "input": {}}
        kind, name, text = "input_json_delta", "partial_json", block.arguments
    head = _event("content_block_start", {"index": index, "content_block": start})
    # A block without a piece is one frame, so that its start and stop are sent.
    split = pieces(text, chunk_chars) or [""]
    deltas = [
        _event("content_block_delta", {"index": index, "delta": {"type": kind, name: piece}})
        for piece in split
    ]
    deltas[0] = head + deltas[0]
    deltas[-1] += _event("content_block_stop", {"index": index})
    return [Frame(data, index, piece) for data, piece in zip(deltas, split, strict=True)]


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encode({"type": kind, **fields}) + b"\n\n"


def stream_error(kind: str, text: str) -> bytes:
    """Return the event of an error in the middle of a stream."""
    return _event("error", {"error": {"type": kind, "message": text}})

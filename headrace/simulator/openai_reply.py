"""Chat completions as the OpenAI API sends them, whole and streamed."""

from typing import Any

from headrace.simulator.asking import Ask
from headrace.simulator.behaviour import Finish
from headrace.simulator.generation import Called, Generation, Said, pieces
from headrace.simulator.refusals import encode
from headrace.simulator.scripts import Envelope, Frame, StreamScript

FINGERPRINT = "fp_simulated"
_DONE = b"data: [DONE]\n\n"
_FINISH = {
    Finish.STOP: "stop",
    Finish.STOP_SEQUENCE: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
    Finish.CONTENT_FILTER: "content_filter",
}


def completion(ask: Ask, made: Generation, envelope: Envelope) -> bytes:
    """Return the body of a call that does not stream."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": _text(made),
        "refusal": None,
        "annotations": [],
    }
    calls = [block for block in made.blocks if isinstance(block, Called)]
    if calls:
        message["tool_calls"] = [
            _tool_call(envelope, index, call.name, call.arguments) for index, call in enumerate(calls)
        ]
    return encode(
        {
            "id": envelope.call_id,
            "object": "chat.completion",
            "created": envelope.created,
            "model": ask.model.name,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[made.finish]}
            ],
            "usage": usage(ask, made, envelope),
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
    )


def _text(made: Generation) -> str | None:
    texts = [block.text for block in made.blocks if isinstance(block, Said)]
    return "".join(texts) if texts else None


def _tool_call(envelope: Envelope, index: int, name: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"call_{envelope.call_id[-20:]}{index}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def usage(ask: Ask, made: Generation, envelope: Envelope) -> dict[str, Any]:
    """Return the usage object of a completion."""
    return {
        "prompt_tokens": ask.input_tokens,
        "completion_tokens": made.output_tokens,
        "total_tokens": ask.input_tokens + made.output_tokens,
        "prompt_tokens_details": {"cached_tokens": envelope.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def stream_script(
    ask: Ask, made: Generation, envelope: Envelope, chunk_chars: int | list[int] | None
) -> StreamScript:
    """Return the chunks of a call that streams: a role, the content in pieces, the finish, the usage."""
    chunks = _Chunks(ask, envelope)
    frames: list[Frame] = []
    for index, block in enumerate(made.blocks):
        if isinstance(block, Said):
            frames += [
                Frame(chunks.delta({"content": text}), index, text)
                for text in pieces(block.text, chunk_chars)
            ]
        else:
            frames += _call_frames(chunks, envelope, index, block, chunk_chars)
    opening = {"role": "assistant", "content": "" if _text(made) is not None else None, "refusal": None}
    closing = chunks.delta({}, finish=_FINISH[made.finish])
    if ask.include_usage:
        closing += chunks.usage(usage(ask, made, envelope))
    return StreamScript(opening=chunks.delta(opening), frames=tuple(frames), closing=closing + _DONE)


def _call_frames(
    chunks: "_Chunks", envelope: Envelope, index: int, call: Called, chunk_chars: int | list[int] | None
) -> list[Frame]:
    head = {"index": index, **_tool_call(envelope, index, call.name, "")}
    frames = [Frame(chunks.delta({"tool_calls": [head]}), index, "")]
    for text in pieces(call.arguments, chunk_chars):
        tail = {"index": index, "function": {"arguments": text}}
        frames.append(Frame(chunks.delta({"tool_calls": [tail]}), index, text))
    return frames


class _Chunks:
    """Builds chunks; what is the same in all of them is encoded once."""

    def __init__(self, ask: Ask, envelope: Envelope) -> None:
        head = encode(
            {
                "id": envelope.call_id,
                "object": "chat.completion.chunk",
                "created": envelope.created,
                "model": ask.model.name,
                "service_tier": "default",
                "system_fingerprint": FINGERPRINT,
            }
        )
        self._head = b"data: " + head[:-1]
        self._tail = b',"usage":null}\n\n' if ask.include_usage else b"}\n\n"

    def delta(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return (
            self._head
            + b',"choices":[{"index":0,"delta":'
            + encode(delta)
            + b',"logprobs":null,"finish_reason":'
            + encode(finish)
            + b"}]"
            + self._tail
        )

    def usage(self, usage: dict[str, Any]) -> bytes:
        return self._head + b',"choices":[],"usage":' + encode(usage) + b"}\n\n"


def stream_error(message: str, kind: str) -> bytes:
    """Return the event of an error in the middle of a stream."""
    error = {"message": message, "type": kind, "param": None, "code": None}
    return b"data: " + encode({"error": error}) + b"\n\n"

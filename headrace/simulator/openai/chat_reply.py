"""Chat completions as the OpenAI API sends them, whole and streamed."""

from typing import Any

from headrace.simulator.error_reply import encode
from headrace.simulator.generation.chat_task import ChatTask
from headrace.simulator.generation.generate import Generation, SaidText, StopCause, ToolCallBlock
from headrace.simulator.generation.stream_script import ReplyHead, StreamFrame, StreamScript
from headrace.simulator.generation.token_pieces import pieces
from headrace.simulator.provider_api import ChunkChars

_FINISH_REASONS = {
    StopCause.STOP: "stop",
    StopCause.STOP_SEQUENCE: "stop",
    StopCause.LENGTH: "length",
    StopCause.TOOL_CALLS: "tool_calls",
}


def completion_body(task: ChatTask, made: Generation, head: ReplyHead) -> bytes:
    """Return the body of a call that does not stream."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    for index, block in enumerate(made.blocks):
        if isinstance(block, SaidText):
            message["content"] = block.text
        else:
            call = _tool_call(head, index, block.name, block.arguments)
            message.setdefault("tool_calls", []).append(call)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _FINISH_REASONS[made.stopped],
    }
    return encode(
        _envelope("chat.completion", task, head) | {"choices": [choice], "usage": _usage(task, made, head)}
    )


def _envelope(kind: str, task: ChatTask, head: ReplyHead) -> dict[str, Any]:
    return {
        "id": head.call_id,
        "object": kind,
        "created": head.created,
        "model": task.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def _tool_call(head: ReplyHead, index: int, name: str, arguments: str) -> dict[str, Any]:
    call_id = f"call_{head.call_id[-20:]}{index}"
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(task: ChatTask, made: Generation, head: ReplyHead) -> dict[str, Any]:
    return {
        "prompt_tokens": task.input_tokens,
        "completion_tokens": made.output_tokens,
        "total_tokens": task.input_tokens + made.output_tokens,
        "prompt_tokens_details": {"cached_tokens": head.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def completion_stream(
    task: ChatTask, made: Generation, head: ReplyHead, chunk_chars: ChunkChars
) -> StreamScript:
    """Return the chunks of a call that streams: a role, the content in pieces, the finish, the usage."""
    chunks = _ChunkEncoder(task, head)
    frames: list[StreamFrame] = []
    for index, block in enumerate(made.blocks):
        if isinstance(block, SaidText):
            split = pieces(block.text, chunk_chars)
            frames += [StreamFrame(chunks.delta({"content": text}), index, text) for text in split]
            continue
        first = {"index": index, **_tool_call(head, index, block.name, "")}
        frames.append(StreamFrame(chunks.delta({"tool_calls": [first]}), index, ""))
        for text in pieces(block.arguments, chunk_chars):
            more = {"index": index, "function": {"arguments": text}}
            frames.append(StreamFrame(chunks.delta({"tool_calls": [more]}), index, text))
    calls_tools = isinstance(made.blocks[0], ToolCallBlock)
    opening = {"role": "assistant", "content": None if calls_tools else "", "refusal": None}
    closing = chunks.delta({}, finish=_FINISH_REASONS[made.stopped])
    if task.include_usage:
        closing += chunks.usage(_usage(task, made, head))
    closing += b"data: [DONE]\n\n"
    return StreamScript(opening=chunks.delta(opening), frames=tuple(frames), closing=closing)


class _ChunkEncoder:
    """Encodes chunks; what is the same in all of them is encoded once."""

    def __init__(self, task: ChatTask, head: ReplyHead) -> None:
        self._head = b"data: " + encode(_envelope("chat.completion.chunk", task, head))[:-1]
        self._tail = b',"usage":null}\n\n' if task.include_usage else b"}\n\n"

    def delta(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._head + b',"choices":[' + encode(choice) + b"]" + self._tail

    def usage(self, usage: dict[str, Any]) -> bytes:
        return self._head + b',"choices":[],"usage":' + encode(usage) + b"}\n\n"

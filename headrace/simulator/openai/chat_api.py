"""The OpenAI API: headers, errors, and chat completions as it sends them, whole and streamed."""

from typing import Any

import msgspec

from headrace.simulator.generation.chat_task import ChatTask
from headrace.simulator.generation.generate import ChunkChars, Generation, StopCause, pieces
from headrace.simulator.openai.chat_request import read_chat_request
from headrace.simulator.provider_api import ProviderApi, ReplyHead, StreamFrame, StreamScript, bearer_token
from headrace.simulator.request_validation import ErrorReply
from streams.models import ProviderName

_FINISH_REASONS = {
    StopCause.STOP: "stop",
    StopCause.STOP_SEQUENCE: "stop",
    StopCause.LENGTH: "length",
    StopCause.TOOL_CALLS: "tool_calls",
}


def _completion_body(task: ChatTask, made: Generation, head: ReplyHead) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    for index, block in enumerate(made.blocks):
        if block.tool is None:
            message["content"] = block.text
        else:
            message.setdefault("tool_calls", []).append(_tool_call(head, index, block.tool, block.text))
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _FINISH_REASONS[made.stopped],
    }
    reply = {"choices": [choice], "usage": _usage(task, made, head)}
    return msgspec.json.encode(_envelope("chat.completion", task, head) | reply)


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


def _completion_stream(
    task: ChatTask, made: Generation, head: ReplyHead, chunk_chars: ChunkChars
) -> StreamScript:
    """Return the chunks of a call that streams: a role, the content in pieces, the finish, the usage."""
    chunks = _ChunkEncoder(task, head)
    frames: list[StreamFrame] = []
    for index, block in enumerate(made.blocks):
        if block.tool is None:
            split = pieces(block.text, chunk_chars)
            frames += [StreamFrame(chunks.delta({"content": text}), index, text) for text in split]
            continue
        first = {"index": index, **_tool_call(head, index, block.tool, "")}
        frames.append(StreamFrame(chunks.delta({"tool_calls": [first]}), index, ""))
        for text in pieces(block.text, chunk_chars):
            more = {"index": index, "function": {"arguments": text}}
            frames.append(StreamFrame(chunks.delta({"tool_calls": [more]}), index, text))
    content = "" if made.blocks[0].tool is None else None
    opening = {"role": "assistant", "content": content, "refusal": None}
    closing = chunks.delta({}, finish=_FINISH_REASONS[made.stopped])
    if task.include_usage:
        closing += chunks.usage(_usage(task, made, head))
    closing += b"data: [DONE]\n\n"
    return StreamScript(opening=chunks.delta(opening), frames=tuple(frames), closing=closing)


class _ChunkEncoder:
    """Encodes chunks; what is the same in all of them is encoded once."""

    def __init__(self, task: ChatTask, head: ReplyHead) -> None:
        self._head = b"data: " + msgspec.json.encode(_envelope("chat.completion.chunk", task, head))[:-1]
        self._tail = b',"usage":null}\n\n' if task.include_usage else b"}\n\n"

    def delta(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._head + b',"choices":[' + msgspec.json.encode(choice) + b"]" + self._tail

    def usage(self, usage: dict[str, Any]) -> bytes:
        return self._head + b',"choices":[],"usage":' + msgspec.json.encode(usage) + b"}\n\n"


def _error_body(error: ErrorReply, request_id: str = "") -> bytes:  # noqa: ARG001  (it is in the header)
    named = {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": named})


OPENAI = ProviderApi(
    provider=ProviderName.OPENAI,
    request_id_header="x-request-id",
    id_prefix="chatcmpl-",
    overloaded_status=503,
    api_key=bearer_token,
    read_chat=lambda body, _headers: read_chat_request(body),
    whole_reply=_completion_body,
    stream_script=_completion_stream,
    error_body=_error_body,
    error_event=lambda error: b"data: " + _error_body(error) + b"\n\n",
    broken_event=b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"ind\n\n',
)

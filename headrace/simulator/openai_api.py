"""The OpenAI API: chat completions, whole and streamed, headers and errors; and embeddings.

Texts that share words have embeddings that are near each other.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.simulator.behaviour import FaultRule
from headrace.simulator.chat_task import ChatTask, ModelTask
from headrace.simulator.endpoint import Endpoint, answer_whole
from headrace.simulator.generate import ChunkChars, Generation, StopCause, pieces
from headrace.simulator.invoice import BilledAs, BilledUsage, embedding_charge_usd
from headrace.simulator.openai_request import EMBEDDINGS, read_chat_request
from headrace.simulator.request_validation import ErrorReply, model_not_found, wrong_field
from headrace.simulator.simulated_call import (
    ProviderApi,
    ReplyHead,
    ReplyPlan,
    RequestHeaders,
    SimulatedCall,
    Simulation,
    StreamFrame,
    StreamScript,
    bearer_token,
)
from streams.model_catalogue import EMBEDDING_MODELS, ProviderProtocol, count_text

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
    provider=ProviderProtocol.OPENAI,
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


# Lengths that the API documents for its models; also their largest `dimensions`.
_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536
_MAX_INPUTS = 2048
_MAX_TOKENS_PER_INPUT = 8192
_MAX_TOKENS_PER_CALL = 300_000
_WORD = re.compile(r"\w+")


class EmbeddingTask(ModelTask, frozen=True, kw_only=True):
    """One validated embeddings call; `packed` asks for base64."""

    texts: Sequence[str]
    dimensions: int
    packed: bool


def embeddings_endpoint(simulation: Simulation) -> Endpoint[EmbeddingTask]:
    """Return `POST …/embeddings` of the OpenAI API."""
    return Endpoint(simulation, OPENAI, "embd_", read=_read_embeddings, answer=_answer_embeddings)


async def _answer_embeddings(call: SimulatedCall, task: EmbeddingTask, fault: FaultRule | None) -> None:
    def bill(_output_tokens: int, status: BilledAs) -> None:
        call.bill(task, BilledUsage(input_tokens=task.input_tokens), status)

    body = _embeddings_body(task, call.simulation.seed)
    plan = ReplyPlan(timing=call.simulation.director.timing(fault), fault=fault, bill=bill)
    await answer_whole(call, body, 0, plan)


def _read_embeddings(body: Any, _headers: RequestHeaders) -> EmbeddingTask:
    EMBEDDINGS.check(body)
    model = body["model"]
    if model not in EMBEDDING_MODELS:
        raise model_not_found(model)
    largest = _DIMENSIONS.get(model, _DEFAULT_DIMENSIONS)
    dimensions = body.get("dimensions", largest)
    if dimensions > largest:
        raise wrong_field("dimensions", f"at most {largest}")
    texts = _input_texts(body["input"])
    return EmbeddingTask(
        model=model,
        prompt="\n".join(texts),
        input_tokens=_count_tokens(texts),
        charge_usd=partial(embedding_charge_usd, EMBEDDING_MODELS[model].price.input_usd),
        texts=texts,
        dimensions=dimensions,
        packed=body.get("encoding_format") == "base64",
    )


def _input_texts(given: Any) -> Sequence[str]:
    texts: Sequence[Any] = [given] if isinstance(given, str) else given
    if not texts or "" in texts:
        raise wrong_field("input", "must not be empty")
    if not isinstance(texts[0], str):
        raise wrong_field("input", "the simulator takes no token arrays")
    if len(texts) > _MAX_INPUTS:
        raise wrong_field("input", f"at most {_MAX_INPUTS} texts")
    return texts


def _count_tokens(texts: Sequence[str]) -> int:
    counts = [count_text(text) for text in texts]
    if max(counts) > _MAX_TOKENS_PER_INPUT:
        reason = f"{max(counts)} tokens > {_MAX_TOKENS_PER_INPUT}, the model's maximum context length"
        raise wrong_field("input", reason, "context_length_exceeded")
    if sum(counts) > _MAX_TOKENS_PER_CALL:
        raise wrong_field("input", f"{sum(counts)} tokens > {_MAX_TOKENS_PER_CALL}, the most of one request")
    return sum(counts)


def _embeddings_body(task: EmbeddingTask, seed: int) -> bytes:
    data = []
    for index, text in enumerate(task.texts):
        vector = embed(text, task.dimensions, seed)
        shown: Any = base64.b64encode(vector.tobytes()).decode() if task.packed else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": task.input_tokens, "total_tokens": task.input_tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": task.model, "usage": usage})


def embed(text: str, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Return a unit vector: the sum of one random direction a word, drawn from the seed and the word."""
    total = np.zeros(dimensions, dtype=np.float32)
    for word in _WORD.findall(text.lower()) or [text]:
        total += _direction(word, dimensions, seed)
    return total / np.float32(np.linalg.norm(total))


@lru_cache(maxsize=4_096)
def _direction(word: str, dimensions: int, seed: int) -> NDArray[np.float32]:
    digest = hashlib.blake2b(word.encode(), key=str(seed).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest)).standard_normal(dimensions, dtype=np.float32)

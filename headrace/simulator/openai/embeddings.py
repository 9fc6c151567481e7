"""Serves `POST …/embeddings`: texts that share words have vectors that are near each other."""

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
from headrace.simulator.endpoint import Endpoint, answer_whole
from headrace.simulator.generation.chat_task import ModelTask
from headrace.simulator.invoice import BilledAs, BilledUsage, embedding_charge_usd
from headrace.simulator.openai.chat_api import OPENAI
from headrace.simulator.openai.chat_request import EMBEDDINGS
from headrace.simulator.provider_api import RequestHeaders
from headrace.simulator.request_validation import model_not_found, wrong_field
from headrace.simulator.simulated_call import ReplyPlan, SimulatedCall, Simulation
from streams.models import EMBEDDING_USD_PER_MILLION
from streams.tokens import count_text

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
    return Endpoint(simulation, OPENAI, "embd_", read=_read, answer=_answer)


async def _answer(call: SimulatedCall, task: EmbeddingTask, fault: FaultRule | None) -> None:
    def bill(_output_tokens: int, status: BilledAs) -> None:
        call.bill(task, BilledUsage(input_tokens=task.input_tokens), status)

    body = _reply(task, call.simulation.seed)
    plan = ReplyPlan(timing=call.simulation.director.timing(fault), fault=fault, bill=bill)
    await answer_whole(call, body, 0, plan)


def _read(body: Any, _headers: RequestHeaders) -> EmbeddingTask:
    EMBEDDINGS.check(body)
    model = body["model"]
    if model not in EMBEDDING_USD_PER_MILLION:
        raise model_not_found(model)
    largest = _DIMENSIONS.get(model, _DEFAULT_DIMENSIONS)
    dimensions = body.get("dimensions", largest)
    if dimensions > largest:
        raise wrong_field("dimensions", f"at most {largest}")
    texts = _texts(body["input"])
    return EmbeddingTask(
        model=model,
        prompt="\n".join(texts),
        input_tokens=_count(texts),
        charge_usd=partial(embedding_charge_usd, EMBEDDING_USD_PER_MILLION[model]),
        texts=texts,
        dimensions=dimensions,
        packed=body.get("encoding_format") == "base64",
    )


def _texts(given: Any) -> Sequence[str]:
    texts: Sequence[Any] = [given] if isinstance(given, str) else given
    if not texts or "" in texts:
        raise wrong_field("input", "must not be empty")
    if not isinstance(texts[0], str):
        raise wrong_field("input", "the simulator takes no token arrays")
    if len(texts) > _MAX_INPUTS:
        raise wrong_field("input", f"at most {_MAX_INPUTS} texts")
    return texts


def _count(texts: Sequence[str]) -> int:
    counts = [count_text(text) for text in texts]
    if max(counts) > _MAX_TOKENS_PER_INPUT:
        reason = f"{max(counts)} tokens > {_MAX_TOKENS_PER_INPUT}, the model's maximum context length"
        raise wrong_field("input", reason, "context_length_exceeded")
    if sum(counts) > _MAX_TOKENS_PER_CALL:
        raise wrong_field("input", f"{sum(counts)} tokens > {_MAX_TOKENS_PER_CALL}, the most of one request")
    return sum(counts)


def _reply(task: EmbeddingTask, seed: int) -> bytes:
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

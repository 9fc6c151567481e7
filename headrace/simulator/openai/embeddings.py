"""Serves `POST …/embeddings`."""

import base64
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from headrace.simulator.behaviour.rules import FaultRule
from headrace.simulator.billing.charges import BilledUsage, embedding_charge_usd
from headrace.simulator.billing.invoice_items import BilledAs
from headrace.simulator.endpoint import Endpoint, ReplyPlan, answer_whole
from headrace.simulator.error_reply import ErrorReply, encode, model_not_found
from headrace.simulator.openai.word_vectors import embed
from headrace.simulator.provider_api import RequestHeaders
from headrace.simulator.simulated_call import SimulatedCall
from streams.models import EMBEDDING_USD_PER_MILLION
from streams.tokens import count_text

EmbeddingInput = str | tuple[int, ...]

# Lengths that the API documents for its models; also their largest `dimensions`.
_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536
_MAX_INPUTS = 2048
_MAX_TOKENS_PER_INPUT = 8192
_MAX_TOKENS_PER_CALL = 300_000


class EmbeddingTask(msgspec.Struct, frozen=True, kw_only=True):
    """One validated embeddings call; `packed` asks for base64."""

    model: str
    inputs: tuple[EmbeddingInput, ...]
    dimensions: int
    packed: bool
    input_tokens: int
    stream: bool = False

    @property
    def prompt(self) -> str:
        """The texts, for behaviour rules."""
        return "\n".join(text for text in self.inputs if isinstance(text, str))

    def charge_usd(self, usage: BilledUsage) -> Decimal:
        """Return what the call costs, in US dollars."""
        return embedding_charge_usd(EMBEDDING_USD_PER_MILLION[self.model], usage)


class EmbeddingsEndpoint(Endpoint[EmbeddingTask]):
    """`POST …/embeddings` of the OpenAI API."""

    id_prefix = "embd_"

    def read(self, body: Any, headers: RequestHeaders) -> EmbeddingTask:  # noqa: ARG002  (part of the seam)
        """Turn a decoded body into a task."""
        return read_embedding_task(body)

    async def answer(self, call: SimulatedCall, task: EmbeddingTask, fault: FaultRule | None) -> None:
        """Send the vectors."""

        def bill(_output_tokens: int, status: BilledAs) -> None:
            call.bill(task, BilledUsage(input_tokens=task.input_tokens), status)

        body = _reply(task, self.simulation.seed)
        plan = ReplyPlan(timing=self.simulation.director.timing(fault), fault=fault, bill=bill)
        await answer_whole(call, body, 0, plan)


def read_embedding_task(body: Any) -> EmbeddingTask:
    """Turn a decoded body into a task.

    Raises:
        ErrorReply: If the API would not take it.
    """
    from headrace.simulator.openai.request_types import EMBEDDINGS  # noqa: PLC0415  (loads the SDK)

    EMBEDDINGS.check(body)
    model = body["model"]
    if model not in EMBEDDING_USD_PER_MILLION:
        raise model_not_found(model)
    largest = _DIMENSIONS.get(model, _DEFAULT_DIMENSIONS)
    dimensions = body.get("dimensions", largest)
    if dimensions > largest:
        raise _wrong("dimensions", f"at most {largest}", "integer_above_max_value")
    inputs = _inputs(body["input"])
    return EmbeddingTask(
        model=model,
        inputs=inputs,
        dimensions=dimensions,
        packed=body.get("encoding_format") == "base64",
        input_tokens=_count(inputs),
    )


def _inputs(given: Any) -> tuple[EmbeddingInput, ...]:
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    if not given or not all(given):
        raise _wrong("input", "must not be empty", "empty_array" if given in ([], [[]]) else "empty_string")
    if len(given) > _MAX_INPUTS:
        raise _wrong("input", f"at most {_MAX_INPUTS} inputs", "above_max_length")
    return tuple(entry if isinstance(entry, str) else tuple(entry) for entry in given)


def _count(inputs: Sequence[EmbeddingInput]) -> int:
    counts = [count_text(entry) if isinstance(entry, str) else len(entry) for entry in inputs]
    if max(counts) > _MAX_TOKENS_PER_INPUT:
        reason = f"{max(counts)} tokens > {_MAX_TOKENS_PER_INPUT}, the model's maximum context length"
        raise _wrong("input", reason, "context_length_exceeded")
    if sum(counts) > _MAX_TOKENS_PER_CALL:
        reason = f"{sum(counts)} tokens > {_MAX_TOKENS_PER_CALL}, the most of one request"
        raise _wrong("input", reason, "max_tokens_per_request")
    return sum(counts)


def _wrong(param: str, reason: str, code: str) -> ErrorReply:
    return ErrorReply(400, f"{param}: {reason}", param=param, code=code)


def _reply(task: EmbeddingTask, seed: int) -> bytes:
    data = []
    for index, entry in enumerate(task.inputs):
        vector = embed(entry, task.dimensions, seed)
        shown: Any = base64.b64encode(vector.tobytes()).decode() if task.packed else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": task.input_tokens, "total_tokens": task.input_tokens}
    return encode({"object": "list", "data": data, "model": task.model, "usage": usage})

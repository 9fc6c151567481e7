"""OpenAI Embeddings, or whatever speaks it (vLLM, Azure, the simulator)."""

import base64
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import msgspec
import numpy as np

from agents.providers.answers import json_fields
from agents.providers.answers.body import whole_json
from agents.providers.call_faults import CallSpending, spending_faults
from agents.providers.error_responses import error_in, fault_of_error
from agents.providers.faults import Malformed
from agents.providers.openai.chat import openai_client
from agents.providers.phase_timeouts import PhaseTimeouts
from agents.providers.provider import Embedded, EmbeddingCall
from agents.providers.usage import ReportedUsage, plausible_usage
from streams.events import Embeddings

_PATH = "/embeddings"
_BYTES_PER_NUMBER = 4


class OpenAIEmbeddings:
    """OpenAI's embeddings. Each call is tried once: the call loop retries."""

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        self._client = openai_client(api_key=api_key, base_url=base_url)

    async def embed(self, call: EmbeddingCall) -> Embedded:
        """Return the vectors of all the texts, or raise a `ProviderFault`."""
        spending = CallSpending(call)
        with spending_faults(call, spending):
            data = await PhaseTimeouts(call.timeouts, stream=False).wait(self._data(call, spending))
            return read_embeddings(data, call)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _data(self, call: EmbeddingCall, spending: CallSpending) -> object:
        with closing(await self._client.post(_PATH, _body(call), call)) as response:
            spending.opened = True
            return await whole_json(response)


def _body(call: EmbeddingCall) -> dict[str, Any]:
    given = {"dimensions": call.dimensions, "user": call.user}
    return {
        "model": call.model,
        "input": list(call.inputs),
        "encoding_format": "base64",
        **{name: value for name, value in given.items() if value is not None},
    }


class _Vector(msgspec.Struct, frozen=True, kw_only=True):
    """One of the vectors: base64 as it was asked for, or numbers from those who know nothing else."""

    index: int | None = None
    embedding: str | tuple[float, ...]


class _EmbeddingsBody(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[_Vector, ...]
    model: Any = None
    usage: Any = None


def read_embeddings(data: object, call: EmbeddingCall) -> Embedded:
    """Return the vectors in an answer.

    Raises:
        Malformed: it is not a list of as many vectors as there are texts, all of one length.
    """
    error = error_in(data)
    if error is not None:
        raise fault_of_error(error)
    try:
        body = msgspec.convert(data, _EmbeddingsBody)
    except msgspec.ValidationError as fault:
        raise Malformed(f"the answer is not a list of embeddings: {fault}") from fault
    numbers = [vector.index for vector in body.data]
    if all(number is None for number in numbers):  # then they are in the texts' order
        numbers = list(range(len(body.data)))
    by_number = dict(zip(numbers, body.data, strict=True))
    if len(numbers) != len(call.inputs) or by_number.keys() != set(range(len(call.inputs))):
        raise Malformed(f"the answer has embeddings {_shown(numbers)} for {len(call.inputs)} texts")
    vectors = [_packed(by_number[number].embedding) for number in range(len(call.inputs))]
    reported = ReportedUsage(input_tokens=json_fields.field(body.usage, "prompt_tokens"), output_tokens=0)
    return Embedded(
        embeddings=Embeddings(
            count=len(vectors), dimensions=_dimensions(vectors, call), vectors=b"".join(vectors)
        ),
        model=json_fields.short(body.model) or call.model,
        usage=plausible_usage(reported, call, count_output=lambda: 0),
    )


def _shown(numbers: list[int | None]) -> str:
    shown = ", ".join(str(number) for number in numbers[:10])
    return shown if len(numbers) <= 10 else f"{shown}, … ({len(numbers)})"


def _packed(embedding: str | tuple[float, ...]) -> bytes:
    """Return a vector as little-endian float32, which is what base64 holds already."""
    try:
        if isinstance(embedding, str):
            packed = base64.b64decode(embedding, validate=True)
        else:
            with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is found below
                packed = np.asarray(embedding, dtype="<f4").tobytes()
        numbers = np.frombuffer(packed, dtype="<f4")
    except ValueError as fault:
        raise Malformed(f"an embedding is not a list of numbers: {fault}") from fault
    if not np.isfinite(numbers).all():
        raise Malformed("an embedding has a number that is not finite")
    return packed


def _dimensions(vectors: Iterable[bytes], call: EmbeddingCall) -> int:
    lengths = sorted({len(vector) // _BYTES_PER_NUMBER for vector in vectors})
    if len(lengths) != 1 or lengths[0] == 0 or lengths[0] != (call.dimensions or lengths[0]):
        raise Malformed(f"the embeddings have {lengths} numbers; asked for were {call.dimensions or 'any'}")
    return lengths[0]

"""OpenAI Embeddings, or whatever speaks it (vLLM, Azure, the simulator)."""

import base64
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import openai

from agents.providers.encodable import encodable
from agents.providers.faults import Malformed
from agents.providers.openai_client import fault_of, new_client, options_of
from agents.providers.pace import Pace
from agents.providers.port import Embedded, EmbeddingCall
from agents.providers.spent import spending_faults
from agents.providers.usage import Reported, believed
from streams.events import Embeddings
from streams.models import ProviderName

_PATH = "/embeddings"
_BYTES_PER_NUMBER = 4


class OpenAIEmbeddings:
    """OpenAI's embeddings through its official client, which retries nothing by itself.

    Args:
        api_key: the key.
        base_url: the API's address; OpenAI's own where it is None.
    """

    name = ProviderName.OPENAI

    def __init__(self, *, api_key: str, base_url: str | None = None) -> None:
        self._client = new_client(api_key=api_key, base_url=base_url)

    async def embed(self, call: EmbeddingCall) -> Embedded:
        """Return the vectors of all the texts.

        Raises:
            ProviderFault: there are none.
        """
        with spending_faults(openai.OpenAIError, fault_of, call):
            return read_embeddings(await Pace(call.timeouts).whole(self._post(call)), call)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _post(self, call: EmbeddingCall) -> object:
        # Plain JSON rather than the client's models, which would make a list of floats of every vector.
        return await self._client.post(_PATH, cast_to=object, body=_body(call), options=options_of(call))


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

    index: int
    embedding: str | tuple[float, ...]


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[_Vector, ...]
    model: str | None = None
    usage: Any = None


def read_embeddings(data: object, call: EmbeddingCall) -> Embedded:
    """Return the vectors in an answer.

    Args:
        data: the answer's JSON.
        call: what it answers.

    Raises:
        Malformed: it is not a list of as many vectors as there are texts, all of one length.
    """
    try:
        body = msgspec.convert(data, _Body)
    except msgspec.ValidationError as fault:
        raise Malformed(f"the answer is not a list of embeddings: {fault}") from fault
    if sorted(vector.index for vector in body.data) != list(range(len(call.inputs))):
        raise Malformed(f"the answer has {len(body.data)} embeddings for {len(call.inputs)} texts")
    vectors = [_packed(vector.embedding) for vector in sorted(body.data, key=lambda vector: vector.index)]
    reported = body.usage.get("prompt_tokens") if isinstance(body.usage, dict) else None
    return Embedded(
        embeddings=Embeddings(
            count=len(vectors), dimensions=_dimensions(vectors, call), vectors=b"".join(vectors)
        ),
        model=encodable(body.model or call.model),
        usage=believed(Reported(input_tokens=reported, output_tokens=0), call, count_output=lambda: 0),
    )


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

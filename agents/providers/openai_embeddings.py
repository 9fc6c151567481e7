"""Embeddings from OpenAI's `/v1/embeddings`, or a service that speaks it."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import openai

from agents.embeddings import EmbeddingError, Vectors

# The API's limit is 2,048 inputs and 300,000 tokens a call; this many of ordinary length stay below both.
_TEXTS_PER_CALL = 128
# The models whose vectors the API shortens on request.
_SHORTENABLE = "text-embedding-3"
# The API refuses empty inputs.
_EMPTY = " "
_RETRYABLE_STATUS = frozenset({408, 409, 429})


class _Row(msgspec.Struct, frozen=True):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Row]


class OpenAIEmbedder:
    """Embeds texts over HTTP. An `agents.embeddings.Embedder`.

    It never retries: who calls knows the deadline, and `EmbeddingError` says whether a retry makes sense.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        *,
        model: str = "text-embedding-3-small",
        dimensions: int = 1536,
        timeout_s: float = 5.0,
    ) -> None:
        """Embed with `model` through `client`, which the caller closes.

        Args:
            client: key, base URL and connection pool; its own retries and timeout are not used.
            model: name of the embedding model.
            dimensions: length of the vectors; `text-embedding-3-*` can shorten theirs, others must match.
            timeout_s: longest wait for one call of up to 128 texts, in seconds.
        """
        self._client = client.with_options(max_retries=0, timeout=timeout_s)
        self._model = model
        self._dimensions = dimensions

    @property
    def name(self) -> str:
        """Model and length: vectors are comparable where both are equal."""
        return f"{self._model}-{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the unit vectors of `texts`, in order, `(len(texts), dimensions)` float32.

        Raises:
            EmbeddingError: the service failed, refused the texts (too long, for one), or sent something
                other than one vector of the right length for each.
        """
        vectors = np.empty((len(texts), self._dimensions), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            call = slice(start, start + _TEXTS_PER_CALL)
            vectors[call] = self._unit_vectors(await self._request(texts[call]), len(texts[call]))
        return vectors

    async def _request(self, texts: Sequence[str]) -> _Answer:
        shortened = self._dimensions if self._model.startswith(_SHORTENABLE) else openai.omit
        try:
            response = await self._client.embeddings.with_raw_response.create(
                model=self._model,
                input=[text or _EMPTY for text in texts],
                dimensions=shortened,
                # The SDK's default, base64, is not understood by every service that speaks this API.
                encoding_format="float",
            )
        except openai.APIStatusError as error:
            raise self._refused(error) from error
        except openai.APIConnectionError as error:
            raise self._error(f"{self._model} did not answer: {error}", retryable=True) from error
        # The SDK's own models are filled without validation: a proxy's HTML page would come back as a string.
        try:
            return msgspec.json.decode(response.content, type=_Answer)
        except msgspec.DecodeError as error:
            raise self._error(f"{self._model} sent no valid answer: {error}") from error

    def _unit_vectors(self, answer: _Answer, expected: int) -> Vectors:
        rows = sorted(answer.data, key=lambda row: row.index)
        found = {len(row.embedding) for row in rows}
        if [row.index for row in rows] != list(range(expected)) or found != {self._dimensions}:
            raise self._error(
                f"asked {self._model} for {expected} vectors of {self._dimensions}, got {len(rows)} of"
                f" {sorted(found)}: set the dimensions to what the model gives"
            )
        vectors: Vectors = np.array([row.embedding for row in rows], dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(norms).all() and (norms > 0).all()):
            raise self._error(f"{self._model} sent a vector without a direction")
        unit: Vectors = vectors / norms
        return unit

    def _refused(self, error: openai.APIStatusError) -> EmbeddingError:
        status = error.status_code
        return self._error(
            f"{self._model} answered {status}: {error.message}",
            retryable=status in _RETRYABLE_STATUS or status >= 500,
            retry_after_s=_retry_after_s(error.response.headers.get("retry-after")),
        )

    def _error(self, message: str, *, retryable: bool = False, retry_after_s: float = 1.0) -> EmbeddingError:
        return EmbeddingError(message, embedder=self.name, retryable=retryable, retry_after_s=retry_after_s)


def _retry_after_s(header: str | None, default_s: float = 1.0) -> float:
    """Read `Retry-After` in seconds; its date form, which OpenAI does not send, counts as absent."""
    try:
        seconds = float(header or "")
    except ValueError:
        return default_s
    return seconds if seconds >= 0 and math.isfinite(seconds) else default_s

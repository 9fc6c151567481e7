"""Remembers the last embeddings, so that guardrail, cache and retrieval share one per request."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from agents.embeddings import Embedder, Vectors


class RecentEmbeddings:
    """An `Embedder` in front of another that keeps the vectors of the texts it saw last.

    Used from one event loop. Two callers that ask for the same new text at the same time both compute it.
    """

    def __init__(self, embedder: Embedder, *, capacity: int = 1024, max_characters: int = 4096) -> None:
        """Keep at most `capacity` vectors (1.5 kB each with MiniLM) of texts up to `max_characters`."""
        self._embedder = embedder
        self._capacity = capacity
        self._max_characters = max_characters
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    @property
    def name(self) -> str:
        """The name of the wrapped embedder: the vectors are its own."""
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        return self._embedder.dimensions

    def covers(self, text: str) -> bool:
        """Whether the vector of `text` would reflect all of it."""
        return self._embedder.covers(text)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of `texts`, asking the wrapped embedder only for those that are not remembered.

        Raises:
            EmbeddingUnavailable: the wrapped embedder failed.
        """
        known = {text: self._vectors[text] for text in texts if text in self._vectors}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, await self._embedder.embed(missing), strict=True))
        for text in texts:
            self._remember(text, known[text])
        return np.array([known[text] for text in texts], dtype=np.float32).reshape(-1, self.dimensions)

    def _remember(self, text: str, vector: Vectors) -> None:
        if len(text) > self._max_characters:
            return
        # A copy: a row of a batch would keep the whole batch in memory.
        self._vectors[text] = self._vectors[text] if text in self._vectors else vector.copy()
        self._vectors.move_to_end(text)
        if len(self._vectors) > self._capacity:
            self._vectors.popitem(last=False)

"""A deterministic embedder of words: no model, no network."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from agents.embeddings.minilm import Vectors
from streams.errors import EmbeddingUnavailable

_DIMENSIONS = 64


class WordEmbedder:
    """Each word turns the vector in a direction of its own: texts with most words in common are close.

    Args:
        name: as in `MiniLmEmbedder`.
        covers_chars: texts longer than this are not covered.
    """

    def __init__(self, name: str = "words-1", *, covers_chars: int = 10_000) -> None:
        self.name = name
        self.dimensions = _DIMENSIONS
        self.broken = False
        #: The texts of each call of `embed`.
        self.calls: list[list[str]] = []
        self._covers_chars = covers_chars

    def static_vector(self, text: str) -> Vectors | None:
        """Return the same vector as `embed`, or None where the text is not covered."""
        return _vector(text) if len(text) <= self._covers_chars else None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text."""
        self.calls.append(list(texts))
        if self.broken:
            raise EmbeddingUnavailable("broken")
        return np.stack([_vector(text) for text in texts])


def _vector(text: str) -> Vectors:
    total = np.zeros(_DIMENSIONS, dtype=np.float32)
    for word in re.findall(r"\w+", text.casefold()):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(_DIMENSIONS).astype(np.float32)
    norm = float(np.linalg.norm(total))
    unit: Vectors = total / norm if norm else total
    return unit

"""Embeddings of text for the cache: the port `Embedder`, and the local MiniLM that implements it.

Begin with `minilm`. `recent` remembers the last embeddings, so that a text is embedded once. `graph` and
`int8` build the model.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into unit vectors, so that a dot product is the cosine."""

    @property
    def name(self) -> str:
        """Model, precision and version.

        Vectors of different names must never be compared: it belongs in the key of every index.
        """
        ...

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        ...

    def covers(self, text: str) -> bool:
        """Whether the vector of `text` would reflect all of it, and not only its beginning."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of `texts`, in order: `(len(texts), dimensions)` float32, L2-normalised.

        Raises:
            EmbeddingUnavailable: the model or the service failed.
        """
        ...

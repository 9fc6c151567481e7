"""Vectors of texts: texts that share words are near each other."""

import hashlib
import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")


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

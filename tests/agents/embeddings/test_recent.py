"""Remembering the last embeddings."""

from collections.abc import Sequence

import numpy as np
import pytest

from agents.embeddings import Vectors
from agents.embeddings.recent import RecentEmbeddings
from streams.errors import EmbeddingUnavailable


class CountingEmbedder:
    """Gives every text a vector of its own, and notes what it was asked."""

    name = "counting"
    dimensions = 4

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked.append(list(texts))
        if "fail" in texts:
            raise EmbeddingUnavailable("asked to fail")
        return np.array([[len(text), *map(ord, text[:3].ljust(3))] for text in texts], dtype=np.float32)


async def test_a_text_is_embedded_once() -> None:
    """A text seen before, or twice in one call, is asked for once; order and vectors are kept."""
    behind = CountingEmbedder()
    recent = RecentEmbeddings(behind)
    await recent.embed(["a", "b"])
    vectors = await recent.embed(["c", "b", "c"])
    assert behind.asked == [["a", "b"], ["c"]]
    np.testing.assert_array_equal(vectors, await CountingEmbedder().embed(["c", "b", "c"]))


async def test_known_texts_ask_nothing() -> None:
    """With everything remembered, or nothing asked, the embedder behind rests."""
    behind = CountingEmbedder()
    recent = RecentEmbeddings(behind)
    await recent.embed(["a"])
    await recent.embed(["a"])
    assert (await recent.embed([])).shape == (0, 4)
    assert behind.asked == [["a"]]


async def test_the_least_recently_used_is_forgotten() -> None:
    """Beyond the capacity, the text that was not asked for the longest goes."""
    behind = CountingEmbedder()
    recent = RecentEmbeddings(behind, capacity=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        await recent.embed([text])
    assert behind.asked == [["a"], ["b"], ["c"], ["b"]]


async def test_a_call_larger_than_the_capacity_is_answered() -> None:
    """The bound is on what is kept, not on what is asked."""
    recent = RecentEmbeddings(CountingEmbedder(), capacity=1)
    texts = ["a", "b", "c"]
    np.testing.assert_array_equal(await recent.embed(texts), await CountingEmbedder().embed(texts))


async def test_long_texts_are_not_kept() -> None:
    """Memory is bounded in characters too."""
    behind = CountingEmbedder()
    recent = RecentEmbeddings(behind, max_characters=3)
    for _ in range(2):
        await recent.embed(["long text"])
    assert len(behind.asked) == 2


async def test_a_change_of_the_result_does_not_change_the_memory() -> None:
    """What a caller does to its vectors stays with the caller."""
    recent = RecentEmbeddings(CountingEmbedder())
    for _ in range(2):
        vectors = await recent.embed(["a"])
        assert vectors[0, 0] == 1
        vectors[:] = 0


async def test_a_fault_is_not_remembered() -> None:
    """A failed call leaves nothing behind and is asked again."""
    behind = CountingEmbedder()
    recent = RecentEmbeddings(behind)
    for _ in range(2):
        with pytest.raises(EmbeddingUnavailable):
            await recent.embed(["fail"])
    assert len(behind.asked) == 2
    assert (recent.name, recent.dimensions) == ("counting", 4)

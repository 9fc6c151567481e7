"""The local embedder."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest

from agents.embeddings.minilm import MiniLmEmbedder
from agents.embeddings.model_files import MODEL_NAME, WeightFiles, model_version
from streams.errors import ConfigurationError, EmbeddingUnavailable
from tests.agents.embeddings.texts import ASSORTED, PARAPHRASES


async def test_vectors_are_unit_float32_rows(embedder: MiniLmEmbedder) -> None:
    """Whatever the text, even none, its vector has length one."""
    vectors = await embedder.embed(ASSORTED)
    assert vectors.shape == (len(ASSORTED), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


async def test_no_texts_give_no_vectors(embedder: MiniLmEmbedder) -> None:
    """An empty list is answered with an empty matrix of the right width."""
    assert (await embedder.embed([])).shape == (0, embedder.dimensions)


async def test_paraphrases_are_closer_than_anything_else(embedder: MiniLmEmbedder) -> None:
    """The nearest of five other questions is always the one that means the same."""
    questions = await embedder.embed([first for first, _ in PARAPHRASES])
    rephrased = await embedder.embed([second for _, second in PARAPHRASES])
    assert (questions @ rephrased.T).argmax(axis=1).tolist() == list(range(len(PARAPHRASES)))


async def test_a_vector_does_not_depend_on_its_batch(embedder: MiniLmEmbedder) -> None:
    """In a list, in reverse, or alone among other callers: the bits are the same."""
    together = await embedder.embed(ASSORTED)
    embedder._vector.cache_clear()
    reverse = await embedder.embed(ASSORTED[::-1])
    embedder._vector.cache_clear()
    at_once = await asyncio.gather(*(embedder.embed([text]) for text in ASSORTED))
    np.testing.assert_array_equal(reverse[::-1], together)
    np.testing.assert_array_equal(np.concatenate(at_once), together)


async def test_the_event_loop_runs_on(embedder: MiniLmEmbedder) -> None:
    """Other tasks get their turn while texts are embedded."""
    embedding = asyncio.create_task(embedder.embed(ASSORTED))
    turns = 0
    while not embedding.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100


async def test_a_long_list_lets_others_in(embedder: MiniLmEmbedder) -> None:
    """A short request that comes after a long list of documents is answered before its end."""
    documents = asyncio.create_task(embedder.embed([f"document {number}" for number in range(64)]))
    await asyncio.sleep(0)
    await embedder.embed(["a question"])
    assert not documents.done()
    await documents


async def test_a_text_is_embedded_once(embedder: MiniLmEmbedder) -> None:
    """A question that many ask at once is remembered; what a caller does to its vectors stays with it."""
    first, *_ = await asyncio.gather(*(embedder.embed(["a question", "another"]) for _ in range(5)))
    first[:] = 0
    again = await embedder.embed(["another", "a question"])
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1.0, atol=1e-5)
    assert embedder._vector.cache_info().misses == 2


async def test_only_the_first_256_tokens_count(embedder: MiniLmEmbedder) -> None:
    """Text beyond the cut changes nothing, text before it does; such a text has no static vector."""
    whole = "token " * 254
    cut, same, other = await embedder.embed([whole, whole + "ignored", "other " + whole])
    np.testing.assert_array_equal(cut, same)
    assert cut @ other < 0.9999
    assert embedder.static_vector(whole) is not None
    assert embedder.static_vector(whole + "ignored") is None


async def test_a_text_of_many_tokens_a_character_is_read(embedder: MiniLmEmbedder) -> None:
    """A character that is taken apart into several does not pass for one token."""
    assert embedder.static_vector("\N{HANGUL SYLLABLE HAN}" * 40) is not None
    assert embedder.static_vector("\N{CJK UNIFIED IDEOGRAPH-6C34}" * 255) is None


async def test_a_megabyte_of_text_is_clipped_before_the_tokenizer(embedder: MiniLmEmbedder) -> None:
    """Beyond 64 characters for each token that counts, text is not even read."""
    start = " " * (256 * 64)
    blank, beyond = await embedder.embed(["", start + "beyond the clip " * 60_000])
    np.testing.assert_array_equal(blank, beyond)
    assert embedder.static_vector(start + "beyond") is None


async def test_half_a_surrogate_pair_is_embedded(embedder: MiniLmEmbedder) -> None:
    """Invalid Unicode, which JSON can carry, does not fail the request; a valid pair is one character."""
    broken, plain, pair, emoji = await embedder.embed(["a \ud800 b", "a \ufffd b", "\ud83d\ude00", "😀"])
    np.testing.assert_array_equal(broken, plain)
    np.testing.assert_array_equal(pair, emoji)


def test_static_vectors_are_unit_float32(embedder: MiniLmEmbedder) -> None:
    """As Redis takes them; the order of words does not count, case and blanks neither."""
    vector = embedder.static_vector("How do I reset my password?")
    assert vector is not None
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    same = embedder.static_vector("password  RESET my I do how?")
    np.testing.assert_allclose(vector, same, atol=1e-5)


def test_a_text_without_words_has_no_static_vector(embedder: MiniLmEmbedder) -> None:
    """It has no direction."""
    assert embedder.static_vector("") is None
    assert embedder.static_vector("\x7f" * 9) is None


async def test_static_cosines_are_close_to_those_of_minilm(embedder: MiniLmEmbedder) -> None:
    """The nearest of five other questions is the one that means the same, and no other is a candidate."""
    rows = [[embedder.static_vector(text) for text in texts] for texts in zip(*PARAPHRASES, strict=True)]
    questions, rephrased = (np.array(vectors) for vectors in rows)
    cosines = questions @ rephrased.T
    assert cosines.argmax(axis=1).tolist() == list(range(len(PARAPHRASES)))
    wanted = (
        await embedder.embed([a for a, _ in PARAPHRASES])
        @ (await embedder.embed([b for _, b in PARAPHRASES])).T
    )
    assert np.abs(cosines - wanted).mean() < 0.1


async def test_closed_means_closed(cache_dir: Path) -> None:
    """After `close` the embedder refuses with its own error."""
    closed = MiniLmEmbedder.load(cache_dir)
    closed.close()
    with pytest.raises(EmbeddingUnavailable, match="closed"):
        await closed.embed(["late"])


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers"])
def test_a_missing_extra_says_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch, cache_dir: Path
) -> None:
    """Without the extra the error is a command to run."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"{module}: run `pip install 'headrace\[embeddings\]'"):
        MiniLmEmbedder.load(cache_dir)


@pytest.mark.parametrize("module", ["onnx", "safetensors.numpy"])
def test_a_missing_builder_says_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the model is still to be built, so does a missing onnx or safetensors."""
    monkeypatch.delitem(sys.modules, "agents.embeddings.graph")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"{module}: run `pip install 'headrace\[embeddings\]'"):
        MiniLmEmbedder.load(tmp_path)


@pytest.mark.parametrize("ending", ["onnx", "npy"])
def test_a_damaged_file_says_what_to_delete(weight_files: WeightFiles, tmp_path: Path, ending: str) -> None:
    """A file that is no model, or no table, is named, with the way out."""
    path = tmp_path / f"{MODEL_NAME}-{model_version(weight_files)}.{ending}"
    path.write_bytes(b"no model")
    with pytest.raises(ConfigurationError, match=rf"{path.name}.*delete it"):
        MiniLmEmbedder.load(tmp_path)

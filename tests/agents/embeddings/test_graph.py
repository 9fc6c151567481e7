"""The graph against a plain numpy forward pass, and int8 against fp32."""

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from agents.embeddings.minilm import MiniLmEmbedder
from agents.embeddings.model_files import Tensors, WeightFiles
from tests.agents.embeddings.conftest import Fp32
from tests.agents.embeddings.numpy_bert import encode
from tests.agents.embeddings.texts import ASSORTED, PARAPHRASES

# Measured: mean .9990 and lowest .9977 over 300 questions of QQP; over the texts below .9922, for the empty
# text, whose mean is over two tokens only, and .9969 otherwise.
LOWEST_INT8_COSINE = 0.99
# Measured: -.0007 ± .0038, at most .020, over 2,000 QQP pairs (bench/embedding_thresholds.py); .0051 at most
# over the pairs below.
LARGEST_PAIR_SHIFT = 0.01


@pytest.mark.parametrize("text", ASSORTED)
def test_fp32_equals_a_plain_forward_pass(
    text: str, weight_files: WeightFiles, tensors: Tensors, tokenizer: Tokenizer, fp32: Fp32
) -> None:
    """The fp32 graph computes the same vector as BERT written out in numpy."""
    ids = tokenizer.encode(text).ids
    expected = encode(tensors, weight_files.shape(), ids)
    np.testing.assert_allclose(fp32(ids), expected, atol=1e-4)


def test_padding_does_not_change_a_vector(
    tokenizer: Tokenizer, fp32: Fp32, fp32_session: onnxruntime.InferenceSession
) -> None:
    """Masked tokens neither attend nor count in the mean."""
    ids = tokenizer.encode("How do I reset my password?").ids
    padded = np.full((2, 40), 7592)
    padded[0, : len(ids)] = ids
    mask = np.ones_like(padded)
    mask[0, len(ids) :] = 0
    (vectors,) = fp32_session.run(None, {"input_ids": padded, "attention_mask": mask})
    np.testing.assert_allclose(vectors[0], fp32(ids), atol=1e-5)


async def test_int8_stays_close_to_fp32(embedder: MiniLmEmbedder, tokenizer: Tokenizer, fp32: Fp32) -> None:
    """The int8 vector of any text points where the fp32 vector does."""
    vectors = await embedder.embed(ASSORTED)
    cosines = [
        vector @ fp32(tokenizer.encode(text).ids) for text, vector in zip(ASSORTED, vectors, strict=True)
    ]
    assert min(cosines) > LOWEST_INT8_COSINE


async def test_int8_keeps_the_cosine_of_a_pair(
    embedder: MiniLmEmbedder, tokenizer: Tokenizer, fp32: Fp32
) -> None:
    """A cosine between two texts is the same in int8 and fp32, within the measured bound."""
    for first, second in PARAPHRASES:
        one, other = await embedder.embed([first, second])
        exact = fp32(tokenizer.encode(first).ids) @ fp32(tokenizer.encode(second).ids)
        assert one @ other == pytest.approx(exact, abs=LARGEST_PAIR_SHIFT)

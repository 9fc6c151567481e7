"""Embeddings through the official `openai` client."""

from typing import Any

import numpy as np
import openai
import pytest

from headrace.simulator.openai_api import embed
from tests.headrace.simulator.conftest import Operator


def test_floats_and_base64_are_the_same_vectors(gpt: openai.OpenAI) -> None:
    """Either encoding gives the same unit vectors, in the order of the input."""
    texts = ["refund policy", "solar eclipse"]
    floats = gpt.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    packed = gpt.embeddings.create(model="text-embedding-3-small", input=texts)
    for left, right in zip(floats.data, packed.data, strict=True):
        assert left.index == right.index
        assert len(left.embedding) == 1536
        assert np.allclose(left.embedding, right.embedding, atol=1e-7)
        assert np.isclose(np.linalg.norm(left.embedding), 1.0)


def test_texts_that_share_words_are_nearer() -> None:
    """A paraphrase is nearer than a text about something else; the same text is the same vector."""
    one, near, far = (
        embed(text, 256, 1)
        for text in ("what is the refund policy", "tell me what the refund policy is", "the moon landing")
    )
    assert float(one @ near) > 0.6
    assert float(one @ far) < 0.4
    assert np.array_equal(one, embed("what is the refund policy", 256, 1))
    assert not np.array_equal(one, embed("what is the refund policy", 256, 2))


def test_dimensions(gpt: openai.OpenAI) -> None:
    """Fewer dimensions than the model's own may be asked for."""
    done = gpt.embeddings.create(model="text-embedding-3-large", input="x", dimensions=64)
    assert len(done.data[0].embedding) == 64


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [True]}, "input[0]"),
        ({"input": 7}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "word " * 9000}, "input"),
        ({"input": ["word " * 8000] * 40}, "input"),
        ({"dimensions": 5000}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"colour": 1}, "colour"),
    ],
)
def test_bad_request(gpt: openai.OpenAI, operator: Operator, changes: Any, param: str) -> None:
    """Wrong requests are 400s that name the field, and are not billed."""
    body = {"model": "text-embedding-3-small", "input": "x", **changes}
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.post("/embeddings", body=body, cast_to=object)
    assert caught.value.param == param
    assert operator.invoice()["calls"] == 0


def test_chat_model_is_no_embedding_model(gpt: openai.OpenAI) -> None:
    """A model that makes no embeddings is not found here."""
    with pytest.raises(openai.NotFoundError):
        gpt.embeddings.create(model="gpt-4o", input="x")

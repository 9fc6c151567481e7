"""What a request for embeddings must keep."""

from typing import Any

import pytest

from streams.control.catalogue import SHIPPED
from streams.errors import InvalidRequest
from streams.events import EmbeddingsRequested
from streams.request_rules.embeddings import check_embeddings
from streams.settings import Settings

PARTS = {"kafka_bootstrap": "k:1", "redis_url": "redis://r", "clickhouse_url": "http://c"}
SETTINGS = Settings(**PARTS, embedding_max_inputs=3, max_input_tokens=10_000)  # type: ignore[arg-type]
SMALL, ADA = "text-embedding-3-small", "text-embedding-ada-002"


def wanted(*inputs: str, **fields: Any) -> EmbeddingsRequested:
    return EmbeddingsRequested(**({"user_id": "u", "inputs": inputs, "model": SMALL} | fields))


def test_the_tokens_of_all_texts_are_counted() -> None:
    """As many as the tokenizer finds: one a word here."""
    assert check_embeddings(wanted("hello", "hello hello", " hello hello hello"), SETTINGS, SHIPPED) == 6


@pytest.mark.parametrize(
    ("request_", "code", "param", "says"),
    [
        (wanted("a", model="gpt-4o"), "model_not_found", "model", "text-embedding-3-large"),
        (wanted("a", "b", "c", "d"), "too_many_inputs", "input", "4 texts; at most 3"),
        (wanted("a", dimensions=1537), "invalid_value", "dimensions", "from 1 to 1536"),
        (
            wanted("a", model=ADA, dimensions=1536),
            "unsupported_parameter",
            "dimensions",
            "leave dimensions out",
        ),
        (wanted("a", "word " * 8_200), "context_length_exceeded", "input[1]", "takes 8192"),
        (wanted(*["word " * 4_000] * 3), "max_tokens_per_request", "input", "at most 10000"),
    ],
)
def test_what_does_not_fit_is_refused(
    request_: EmbeddingsRequested,
    code: str,
    param: str,
    says: str,
) -> None:
    """Naming the field and what it must be."""
    with pytest.raises(InvalidRequest) as caught:
        check_embeddings(request_, SETTINGS, SHIPPED)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert says in caught.value.message


@pytest.mark.parametrize("dimensions", [None, 1, 1536])
def test_vectors_may_be_shorter_than_the_models_own(dimensions: int | None) -> None:
    """Of a model that can shorten them."""
    assert check_embeddings(wanted("hello", dimensions=dimensions), SETTINGS, SHIPPED) == 1

"""OpenAI's embeddings: what is asked, what is read, and what each fault is."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from agents.providers.faults import (
    AuthenticationFault,
    ConnectionLost,
    Malformed,
    ModelUnavailable,
    ProviderFault,
    ProviderTimeout,
    RateLimited,
    Refused,
    ServerFault,
)
from agents.providers.openai.embeddings import OpenAIEmbeddings, read_embeddings
from agents.providers.provider import EmbeddingCall, Timeouts
from headrace.simulator.openai_api import embed
from streams.events import Usage
from tests.agents.providers.simulated import Operator

SMALL = "text-embedding-3-small"


def call_for(*inputs: str, **fields: Any) -> EmbeddingCall:
    given: dict[str, Any] = {
        "call_id": "call-1",
        "model": SMALL,
        "inputs": inputs or ("turbine",),
        "timeouts": Timeouts(connect_s=5, first_token_s=5, between_tokens_s=5, total_s=10),
        "input_tokens": 77,
    }
    return EmbeddingCall(**(given | fields))


@pytest.fixture
async def openai(address: str, operator: Operator) -> AsyncIterator[OpenAIEmbeddings]:
    del operator
    provider = OpenAIEmbeddings(api_key="sk-test", base_url=f"{address}/v1")
    yield provider
    await provider.aclose()


async def test_vectors_usage_and_our_call_id(openai: OpenAIEmbeddings, operator: Operator) -> None:
    """The vectors to the bit, in the order of the texts; the invoice has our id for the call."""
    found = await openai.embed(call_for("a wheel", "a mill", dimensions=64, user="hashed"))
    assert (found.embeddings.count, found.embeddings.dimensions, found.model) == (2, 64, SMALL)
    expected = np.stack([embed(text, 64, 7) for text in ("a wheel", "a mill")])
    assert found.embeddings.vectors == expected.astype("<f4").tobytes()
    (item,) = await operator.items()
    assert item["client_request_id"] == "call-1"
    assert found.usage == Usage(input_tokens=item["input_tokens"])


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("rate_limit", RateLimited),
        ("server_error", ServerFault),
        ("drop", ConnectionLost),
        ("malformed", Malformed),
    ],
)
async def test_faults(
    openai: OpenAIEmbeddings,
    operator: Operator,
    kind: str,
    fault: type[ProviderFault],
) -> None:
    """What had been made when the answer broke off or was garbled is billed: our count of the texts."""
    await operator.behave(faults=[{"kind": kind, "rate": 1}])
    with pytest.raises(fault) as caught:
        await openai.embed(call_for())
    billed = bool(await operator.items())
    assert (caught.value.billed_usage == Usage(input_tokens=77, estimated=True)) is billed
    assert billed is (kind in ("drop", "malformed"))


async def test_silence(openai: OpenAIEmbeddings, operator: Operator) -> None:
    """It ends with the time that the call has."""
    await operator.behave(faults=[{"kind": "hang", "rate": 1}])
    limits = Timeouts(connect_s=1, first_token_s=0.3, between_tokens_s=0.3, total_s=0.3)
    with pytest.raises(ProviderTimeout):
        await openai.embed(call_for(timeouts=limits))


async def test_refusals(openai: OpenAIEmbeddings, address: str) -> None:
    """A wrong field, a model that it does not have, a key that it does not take."""
    with pytest.raises(Refused) as caught:
        await openai.embed(call_for(dimensions=9_999))
    assert caught.value.param == "dimensions"
    with pytest.raises(ModelUnavailable):
        await openai.embed(call_for(model="gpt-4o"))
    stranger = OpenAIEmbeddings(api_key="wrong", base_url=f"{address}/v1")
    with pytest.raises(AuthenticationFault):
        await stranger.embed(call_for())
    await stranger.aclose()


def packed(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()


def body(*embeddings: Any, **fields: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": n, "embedding": each} for n, each in enumerate(embeddings)]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 5}} | fields


def test_numbers_are_read_as_well_as_base64() -> None:
    """Some who speak OpenAI's language send nothing else, whatever they are asked for."""
    one, two = call_for(), call_for("a", "b")
    assert read_embeddings(body([0.1, -2]), one) == read_embeddings(body(packed(0.1, -2)), one)
    turned = body(packed(1.0), packed(2.0))
    turned["data"].reverse()
    assert read_embeddings(turned, two) == read_embeddings(body(packed(1.0), packed(2.0)), two)


def test_without_usage_our_own_count_is_booked() -> None:
    """And without a model's name, the one that was asked for."""
    found = read_embeddings(body(packed(1.0), usage=None, model=None), call_for())
    assert (found.usage.input_tokens, found.model) == (77, SMALL)


@pytest.mark.parametrize(
    "answer",
    [
        "no object",
        {"data": "none"},
        body(),
        body(packed(1.0), packed(2.0)),
        body(packed()),
        body([]),
        body("!!!"),
        body(base64.b64encode(b"123").decode()),
        body(packed(float("nan"))),
        body([1e300]),
        body(packed(1.0, 2.0, 3.0)),
        {"data": [{"index": 1, "embedding": packed(1.0)}]},
    ],
)
def test_an_answer_that_is_no_list_of_vectors(answer: Any) -> None:
    """Too few, too many, of another length than was asked for, not numbers, or none that float32 has."""
    with pytest.raises(Malformed):
        read_embeddings(answer, call_for(dimensions=1))


def test_vectors_of_different_lengths() -> None:
    """They cannot be told apart any more once they are one after the other."""
    with pytest.raises(Malformed):
        read_embeddings(body(packed(1.0), packed(1.0, 2.0)), call_for("a", "b"))

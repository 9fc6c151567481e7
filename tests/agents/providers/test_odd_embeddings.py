"""Embeddings of compatible servers: understood, or a failed attempt with a reason, whatever the bytes."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.providers.faults import Malformed, Overloaded, ProviderFault, RateLimited, Refused
from agents.providers.openai.embeddings import OpenAIEmbeddings
from agents.providers.provider import Embedded, EmbeddingCall, Timeouts
from tests.agents.llm.any_bytes import values
from tests.fakes.raw_provider import RawProvider, raw_provider

CALL = EmbeddingCall(
    call_id="c-1",
    model="text-embedding-3-small",
    inputs=("a", "b"),
    timeouts=Timeouts(connect_s=30, first_token_s=30, between_tokens_s=30, total_s=60),
    input_tokens=7,
)
ANSWER: dict[str, Any] = {
    "object": "list",
    "data": [{"index": 0, "embedding": [1, 2.5]}, {"index": 1, "embedding": [3, 4]}],
    "model": "m\ud83d",
    "usage": {"prompt_tokens": 5},
}
Served = tuple[asyncio.Runner, RawProvider, OpenAIEmbeddings]


@asynccontextmanager
async def embedder() -> AsyncIterator[tuple[RawProvider, OpenAIEmbeddings]]:
    async with raw_provider() as server:
        provider = OpenAIEmbeddings(api_key="k", base_url=f"{server.base}/v1")
        yield server, provider
        await provider.aclose()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server that says anything, the adapter, and the loop that they live in."""
    with asyncio.Runner() as runner:
        context = embedder()
        yield runner, *runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


def embed(served: Served, body: bytes) -> Embedded | ProviderFault:
    runner, server, provider = served
    server.say(body, content_type="text/plain")
    try:
        return runner.run(provider.embed(CALL))
    except ProviderFault as fault:
        return fault


def changed(**fields: Any) -> bytes:
    return json.dumps(ANSWER | fields).encode()


@pytest.mark.parametrize(
    "body",
    [
        changed(),
        b"\xef\xbb\xbf \n" + changed(),
        changed(data=[{"embedding": [1, 2.5]}, {"embedding": [3, 4]}]),
        changed(data=ANSWER["data"][::-1]),
        changed(usage={"prompt_tokens": float("nan")}, error=None),
    ],
)
def test_what_differs_in_form_is_understood(served: Served, body: bytes) -> None:
    """The same vectors in the same order, and a model's name that can be told."""
    found = embed(served, body)
    assert isinstance(found, Embedded), found
    assert (found.embeddings.count, found.embeddings.dimensions, found.model) == (2, 2, "m\ufffd")
    assert found.embeddings.vectors.hex() == "0000803f00002040" + "0000404000008040"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"error": {"message": "full", "code": 503}}', Overloaded, "full"),
        (
            b'[{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}]',
            RateLimited,
            "slow",
        ),
        (b'{"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}', Refused, "bad"),
        (b"<html>busy</html>", Malformed, "not JSON"),
        (b"", Malformed, "not JSON"),
        (b"[" * 100_000, Malformed, "deeply"),
        (changed(data=[{"index": 0, "embedding": [1]}] * 2), Malformed, "embeddings 0, 0 for 2 texts"),
        (changed(data=[{"index": 0, "embedding": [10**400]}, {"index": 1, "embedding": [1]}]), Malformed, ""),
    ],
)
def test_what_is_not_understood_fails_with_a_reason(
    served: Served, body: bytes, kind: type[ProviderFault], words: str
) -> None:
    """And is billed: it may have been made."""
    found = embed(served, body)
    assert type(found) is kind
    assert words in found.message
    assert found.billed_usage is not None
    assert found.billed_usage.input_tokens == 7


@settings(max_examples=50, derandomize=True)
@given(data=st.data())
def test_any_answer_is_vectors_or_a_fault(served: Served, data: st.DataObject) -> None:
    """Any value in any place of an answer, and any cut."""
    body = copy.deepcopy(ANSWER)
    place: Any = data.draw(st.sampled_from([body, body["data"][0], body["usage"], body["data"]]))
    key = data.draw(st.sampled_from(sorted(place))) if isinstance(place, dict) else 1
    place[key] = data.draw(values)
    said = json.dumps(body).encode()
    cut = data.draw(st.sampled_from([len(said), len(said), len(said), data.draw(st.integers(0, len(said)))]))
    found = embed(served, said[:cut])
    if isinstance(found, Embedded):
        assert found.model.encode()
        assert found.usage.input_tokens >= 0
    else:
        assert found.billed_usage is not None
        assert found.message.encode()

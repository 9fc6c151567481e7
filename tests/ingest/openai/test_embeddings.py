"""The embeddings route, asked by OpenAI's own client."""

import base64
import struct
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import httpx2
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI

from ingest.main import create_app
from streams.events import Embeddings, EmbeddingsRequested, Reply, Status, Usage
from tests.ingest.fakes import KEY, Rig, failed, rig

SMALL, LARGE, ADA = "text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"
#: Numbers that have no short decimal form as float32, and the extremes.
NUMBERS = np.array([[0.1, -1 / 3], [3.4e38, 1e-45]], dtype="<f4")


def made(vectors: Any = NUMBERS, **fields: Any) -> Reply:
    """A reply with vectors."""
    count, dimensions = vectors.shape
    given: dict[str, Any] = {
        "request_id": "r-1",
        "status": Status.ANSWERED,
        "model": SMALL,
        "usage": Usage(input_tokens=9),
        "cost_usd": Decimal("0.000000180"),
        "embeddings": Embeddings(count=count, dimensions=dimensions, vectors=vectors.tobytes()),
    }
    return Reply(**(given | fields))


@pytest.fixture
async def sdk(wired: Rig) -> AsyncIterator[AsyncOpenAI]:
    """The official client, as it comes, over the application."""
    transport = httpx2.ASGITransport(create_app(wired.services))
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        AsyncOpenAI(api_key=KEY, base_url="http://ingest/v1", http_client=http, max_retries=0) as client,
    ):
        yield client


async def test_what_is_asked(wired: Rig, sdk: AsyncOpenAI) -> None:
    """On a topic of its own, with the tenant of the key and everything that a chat request has."""
    wired.pipeline.replies_with(made())
    await sdk.embeddings.create(
        model=LARGE,
        input=["one", "two"],
        dimensions=2,
        user="ada",
        extra_headers={"X-Headrace-Deadline-Ms": "5000", "X-Headrace-On-Disconnect": "cancel"},
    )
    (sent,) = wired.pipeline.sent
    asked = sent.request
    assert sent.topic == "llm.embeddings.v1"
    assert isinstance(asked, EmbeddingsRequested)
    assert (asked.inputs, asked.model, asked.dimensions) == (("one", "two"), LARGE, 2)
    assert (asked.tenant, asked.tier, asked.user_id) == ("acme", "enterprise", "ada")
    assert (asked.deadline_ms, asked.on_disconnect) == (5_000, "cancel")
    assert asked.request_id == sent.key
    assert dict(sent.headers)["ce_type"] == b"headrace.EmbeddingsRequested"
    assert sent.correlation_id


@pytest.mark.parametrize("given", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
async def test_the_vectors_to_the_bit(wired: Rig, sdk: AsyncOpenAI, given: Any) -> None:
    """However they travel: the client asks for base64 where it is not told, and unpacks it."""
    wired.pipeline.replies_with(made())
    raw = await sdk.embeddings.with_raw_response.create(model=SMALL, input=["one", "two"], **given)
    found = raw.parse()
    assert raw.headers["x-request-id"] == wired.pipeline.sent[0].key
    assert (found.object, found.model) == ("list", SMALL)
    assert [each.index for each in found.data] == [0, 1]
    for each, vector in zip(found.data, NUMBERS, strict=True):
        got: Any = each.embedding
        if isinstance(got, str):
            got = struct.unpack("<2f", base64.b64decode(got))
        assert np.array_equal(np.array(got, dtype="<f4"), vector)
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (9, 9)
    extension = found.model_extra["headrace"] if found.model_extra else {}
    assert (extension["status"], extension["cost_usd"]) == ("answered", 0.00000018)


async def test_a_lone_text(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Need not be in a list."""
    wired.pipeline.replies_with(made(NUMBERS[:1]))
    found = await sdk.embeddings.create(model=SMALL, input="alone", encoding_format="float")
    assert wired.pipeline.sent[0].request.inputs == ("alone",)
    assert found.data[0].embedding == NUMBERS[0].tolist()


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"input": ""}, 400, "input", "empty_string"),
        ({"input": ["a", ""]}, 400, "input[1]", "empty_string"),
        ({"input": []}, 400, "input", "invalid_request"),
        ({"input": [1, 2, 3]}, 400, "input", "unsupported_parameter"),
        ({"input": [[1, 2], [3]]}, 400, "input", "unsupported_parameter"),
        ({"input": ["a", 1]}, 400, "input", "unsupported_parameter"),
        ({"input": {"text": "a"}}, 400, "input", "invalid_request"),
        ({"input": ["a"] * 129}, 400, "input", "too_many_inputs"),
        ({"input": "a" * 100_001}, 400, "input", "string_above_max_length"),
        ({"input": "word " * 8_200}, 400, "input[0]", "context_length_exceeded"),
        ({"input": ["word " * 8_000] * 2}, 400, "input", "max_tokens_per_request"),
        ({"dimensions": 0}, 400, "dimensions", "invalid_request"),
        ({"dimensions": 1_537}, 400, "dimensions", "invalid_value"),
        ({"dimensions": 1_536, "model": ADA}, 400, "dimensions", "unsupported_parameter"),
        ({"encoding_format": "hex"}, 400, "encoding_format", "invalid_request"),
        ({"colour": 1}, 400, "colour", "unknown_parameter"),
        ({"model": "gpt-4o"}, 404, "model", "model_not_found"),
        ({"model": None}, 400, "model", "invalid_request"),
    ],
)
async def test_what_cannot_be_served_is_not_accepted(
    changes: dict[str, Any],
    status: int,
    param: str,
    code: str,
) -> None:
    """Nothing is registered or published; the error names the field."""
    wired = rig(max_input_tokens=10_000)
    transport = httpx.ASGITransport(create_app(wired.services))
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers) as client:
        response = await client.post("/v1/embeddings", json={"model": SMALL, "input": "x"} | changes)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (status, param, code)
    assert not wired.pipeline.sent
    assert not wired.registry.entries


@pytest.mark.parametrize(
    ("kind", "code", "raised"),
    [
        ("rate_limit_error", "provider_rate_limited", openai.RateLimitError),
        ("unavailable_error", "provider_unavailable", openai.InternalServerError),
        ("timeout_error", "deadline_exceeded", openai.InternalServerError),
        ("invalid_request_error", "invalid_value", openai.BadRequestError),
        ("invalid_request_error", "model_not_found", openai.NotFoundError),
    ],
)
async def test_a_failure_is_the_clients_own_class(
    wired: Rig,
    sdk: AsyncOpenAI,
    kind: str,
    code: str,
    raised: type[openai.APIStatusError],
) -> None:
    """Whatever the stage says went wrong."""
    wired.pipeline.replies_with(failed(kind, code))
    with pytest.raises(raised) as caught:
        await sdk.embeddings.create(model=SMALL, input="x")
    assert caught.value.code == code


async def test_a_repeat_under_the_same_key(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Gets the stored vectors, in the encoding that it asks for now; another text is a conflict."""
    headers = {"Idempotency-Key": "k-1"}
    wired.pipeline.replies_with(made())
    await sdk.embeddings.create(model=SMALL, input=["one", "two"], extra_headers=headers)
    wired.registry.settle(made(request_id=wired.pipeline.sent[0].key))
    again = await sdk.embeddings.create(
        model=SMALL,
        input=["one", "two"],
        encoding_format="float",
        extra_headers=headers,
    )
    assert [each.embedding for each in again.data] == NUMBERS.tolist()
    assert len(wired.pipeline.sent) == 1
    with pytest.raises(openai.ConflictError):
        await sdk.embeddings.create(model=SMALL, input="other", extra_headers=headers)


async def test_a_repeat_after_the_vectors_have_expired(wired: Rig, sdk: AsyncOpenAI) -> None:
    """Is told so, and not charged again; the client does not try it again by itself."""
    headers = {"Idempotency-Key": "k-2"}
    wired.pipeline.replies_with(made())
    await sdk.embeddings.create(model=SMALL, input="one", extra_headers=headers)
    bare = Embeddings(count=2, dimensions=2)
    wired.registry.settle(made(request_id=wired.pipeline.sent[0].key, embeddings=bare))
    with pytest.raises(openai.ConflictError) as caught:
        await sdk.embeddings.create(model=SMALL, input="one", extra_headers=headers)
    assert caught.value.code == "embeddings_expired"
    assert caught.value.response.headers["x-should-retry"] == "false"


async def test_without_a_key_nothing_is_done(wired: Rig) -> None:
    """As everywhere."""
    transport = httpx.ASGITransport(create_app(wired.services))
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
        response = await client.post("/v1/embeddings", json={"model": SMALL, "input": "x"})
    assert response.status_code == 401
    assert not wired.pipeline.sent

"""OpenAI's embeddings through the official SDK, over a transport that answers as the API does."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2 as httpx  # the fork that the openai SDK is built on
import numpy as np
import openai
import pytest

from agents.embeddings import Embedder, EmbeddingError
from agents.providers.openai_embeddings import OpenAIEmbedder

Answer = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def embedder(
    answer: Answer, *, model: str = "text-embedding-3-small", dimensions: int = 3
) -> AsyncIterator[OpenAIEmbedder]:
    async with openai.AsyncOpenAI(
        api_key="sk-test",
        base_url="http://openai.test/v1",
        http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)),
    ) as client:
        yield OpenAIEmbedder(client, model=model, dimensions=dimensions, timeout_s=2.0)


def vectors(request: httpx.Request) -> httpx.Response:
    """One vector for each input, in reverse, as the API is free to send them."""
    rows = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 2.0 * index, 1.0]}
        for index, text in enumerate(json.loads(request.content)["input"])
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return httpx.Response(200, json={"object": "list", "model": "m", "data": rows[::-1], "usage": usage})


def page(body: str, content_type: str) -> Answer:
    return lambda _request: httpx.Response(200, text=body, headers={"content-type": content_type})


def error(status: int, **headers: str) -> Answer:
    body = {"error": {"message": "refused", "type": "some_error", "code": None, "param": None}}
    return lambda _request: httpx.Response(status, json=body, headers=headers)


async def test_vectors_come_in_order_and_normalised() -> None:
    """Rows are put in the order of the texts and divided by their length."""
    async with embedder(vectors) as port:
        typed: Embedder = port
        result = await typed.embed(["a", "bcd"])
    expected = np.array([[1, 0, 1], [3, 2, 1]], dtype=np.float32)
    np.testing.assert_allclose(result, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)
    assert result.dtype == np.float32
    assert (port.name, port.dimensions) == ("text-embedding-3-small-3", 3)


async def test_long_lists_are_split_and_empty_texts_replaced() -> None:
    """No call has more than 128 texts, and none an empty one, which the API refuses."""
    seen: list[list[str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content)["input"])
        return vectors(request)

    async with embedder(answer) as port:
        assert (await port.embed([""] * 300)).shape == (300, 3)
        assert (await port.embed([])).shape == (0, 3)
    assert [len(texts) for texts in seen] == [128, 128, 44]
    assert {text for texts in seen for text in texts} == {" "}


@pytest.mark.parametrize(("model", "sent"), [("text-embedding-3-large", 3), ("bge-small", None)])
async def test_only_models_that_can_are_asked_to_shorten(model: str, sent: int | None) -> None:
    """`dimensions` is sent to text-embedding-3 models alone: others answer 400 to it."""
    bodies: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return vectors(request)

    async with embedder(answer, model=model) as port:
        await port.embed(["a"])
    assert bodies[0].get("dimensions") == sent
    assert bodies[0]["model"] == model


@pytest.mark.parametrize(
    ("answer", "retryable", "retry_after_s"),
    [
        (error(429, **{"Retry-After": "7"}), True, 7.0),
        (error(429, **{"Retry-After": "soon"}), True, 1.0),
        (error(429, **{"Retry-After": "inf"}), True, 1.0),
        (error(500), True, 1.0),
        (error(401), False, 1.0),
        (error(400), False, 1.0),
    ],
)
async def test_refusals_say_whether_to_retry(
    answer: Answer, *, retryable: bool, retry_after_s: float
) -> None:
    """Every status becomes one exception, asked once, with the service's own waiting time."""
    calls = 0

    def counted(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        return answer(request)

    async with embedder(counted) as port:
        with pytest.raises(EmbeddingError, match="refused") as raised:
            await port.embed(["a"])
    assert (raised.value.retryable, raised.value.retry_after_s) == (retryable, retry_after_s)
    assert raised.value.embedder == port.name
    assert calls == 1


@pytest.mark.parametrize("fault", [httpx.ReadTimeout, httpx.ConnectError])
async def test_a_silent_service_is_retryable(fault: type[httpx.TransportError]) -> None:
    """No answer in time and no connection are the same exception, with the timeout that was set."""
    timeouts: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        timeouts.append(request.extensions["timeout"]["read"])
        raise fault("gone", request=request)

    async with embedder(answer) as port:
        with pytest.raises(EmbeddingError, match="did not answer") as raised:
            await port.embed(["a"])
    assert raised.value.retryable
    assert timeouts == [2.0]


@pytest.mark.parametrize(
    "data",
    [
        [{"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}],
        [{"object": "embedding", "index": 1, "embedding": [1.0, 2.0, 3.0]}],
        [{"object": "embedding", "index": 0, "embedding": [0.0, 0.0, 0.0]}],
        [],
    ],
    ids=["too short", "wrong index", "no direction", "none"],
)
async def test_an_answer_that_is_no_embedding_is_refused(data: list[dict[str, object]]) -> None:
    """Wrong length, wrong count and zero vectors never reach an index."""
    body = {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    async with embedder(lambda _request: httpx.Response(200, json=body)) as port:
        with pytest.raises(EmbeddingError) as raised:
            await port.embed(["a"])
    assert not raised.value.retryable


@pytest.mark.parametrize("body", ["<html>", "", "null", "{}", '{"data": [{"index": 0, "embedding": ["x"]}]}'])
async def test_an_answer_of_another_shape_is_refused(body: str) -> None:
    """A proxy's page in place of an answer is an embedding error, not a crash."""
    for content_type in ("text/html", "application/json"):
        async with embedder(page(body, content_type)) as port:
            with pytest.raises(EmbeddingError, match="no valid answer"):
                await port.embed(["a"])

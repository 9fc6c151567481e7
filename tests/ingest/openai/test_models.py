"""The list of models, asked by OpenAI's own client and by Anthropic's."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from ingest.main import create_app
from streams.model_catalogue import EMBEDDING_MODELS, MODELS, PRICED_MODELS
from tests.fakes.model_records import model, provider, state_of
from tests.ingest.fakes import KEY, Rig, rig

CLAUDES = ["claude-sonnet-4-20250514", "claude-3-5-sonnet", "claude-3-opus"]
OPENAI_KEY, ANTHROPIC_KEY = {"OPENAI_API_KEY": "sk-1"}, {"ANTHROPIC_API_KEY": "sk-2"}


@pytest.fixture(autouse=True)
def _no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings read the providers' keys from the environment; a developer may have some."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def wired() -> Rig:
    """Services whose settings were read after the environment was cleaned."""
    return rig()


@pytest.fixture
async def http(wired: Rig) -> AsyncIterator[httpx2.AsyncClient]:
    """A connection to the application for the official clients."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(create_app(wired.services))) as client:
        yield client


@pytest.fixture
def openai_sdk(http: httpx2.AsyncClient) -> AsyncOpenAI:
    """OpenAI's client, as it comes."""
    return AsyncOpenAI(api_key=KEY, base_url="http://ingest/v1", http_client=http, max_retries=0)


@pytest.fixture
def anthropic_sdk(http: httpx2.AsyncClient) -> AsyncAnthropic:
    """Anthropic's client, as it comes."""
    return AsyncAnthropic(api_key=KEY, base_url="http://ingest", http_client=http, max_retries=0)


async def test_openais_list(openai_sdk: AsyncOpenAI) -> None:
    """Where ingest has no provider's key, all models that requests may name."""
    found = [model async for model in openai_sdk.models.list()]
    assert [model.id for model in found] == list(PRICED_MODELS)
    assert {model.object for model in found} == {"model"}
    assert {model.owned_by for model in found} == {"openai", "anthropic"}


async def test_one_model_for_openai(openai_sdk: AsyncOpenAI) -> None:
    """With its limits and prices beside OpenAI's fields."""
    found = await openai_sdk.models.retrieve("gpt-4o-mini")
    assert (found.id, found.owned_by) == ("gpt-4o-mini", "openai")
    extra = found.model_extra["headrace"] if found.model_extra else {}
    assert (extra["context_window_tokens"], extra["output_usd_per_million"]) == (128_000, 0.6)


async def test_an_embedding_model_for_openai(openai_sdk: AsyncOpenAI) -> None:
    """It says what it is for, and how long its vectors are."""
    found = await openai_sdk.models.retrieve("text-embedding-3-large")
    extra = found.model_extra["headrace"] if found.model_extra else {}
    assert (extra["endpoint"], extra["max_dimensions"]) == ("/v1/embeddings", 3072)
    assert (extra["takes_dimensions"], extra["input_usd_per_million"]) == (True, 0.13)


async def test_an_embedding_model_is_none_of_anthropics(anthropic_sdk: AsyncAnthropic) -> None:
    """Nobody asks for embeddings in that language."""
    with pytest.raises(anthropic.NotFoundError):
        await anthropic_sdk.models.retrieve("text-embedding-3-large")


async def test_anthropics_list(anthropic_sdk: AsyncAnthropic) -> None:
    """The client's paging goes through all of them, in the same order."""
    page = await anthropic_sdk.models.list(limit=2)
    assert (page.has_more, len(page.data)) == (True, 2)
    found = [model async for model in page]
    assert [model.id for model in found] == list(MODELS)
    assert {(model.type, model.lifecycle) for model in found} == {("model", "active")}


async def test_anthropics_list_backwards(anthropic_sdk: AsyncAnthropic) -> None:
    """The models right before a cursor."""
    names = list(MODELS)
    page = await anthropic_sdk.models.list(limit=2, before_id=names[3])
    assert ([model.id for model in page.data], page.has_more) == (names[1:3], True)
    page = await anthropic_sdk.models.list(before_id=names[0])
    assert ([model.id for model in page.data], page.has_more) == ([], False)


async def test_one_model_for_anthropic(anthropic_sdk: AsyncAnthropic) -> None:
    """With the most tokens that a request may ask for here."""
    found = await anthropic_sdk.models.retrieve("claude-3-opus")
    assert (found.id, found.max_input_tokens, found.max_tokens) == ("claude-3-opus", 200_000, 4096)
    assert found._request_id


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        (ANTHROPIC_KEY, CLAUDES),
        (OPENAI_KEY, ["gpt-4o", "gpt-4o-mini", *EMBEDDING_MODELS]),
        (OPENAI_KEY | ANTHROPIC_KEY, list(PRICED_MODELS)),
    ],
)
async def test_only_configured_providers(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    names: list[str],
) -> None:
    """A model whose provider has no key is not offered, where ingest knows the keys."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    transport = httpx.ASGITransport(create_app(rig().services))
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers) as client:
        listed = (await client.get("/v1/models")).json()["data"]
        assert [model["id"] for model in listed] == names
        for name in PRICED_MODELS:
            assert (await client.get(f"/v1/models/{name}")).is_success == (name in names)


async def test_an_unknown_model(openai_sdk: AsyncOpenAI, anthropic_sdk: AsyncAnthropic) -> None:
    """Each client's NotFoundError."""
    with pytest.raises(openai.NotFoundError) as ours:
        await openai_sdk.models.retrieve("gpt-9")
    assert ours.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError) as theirs:
        await anthropic_sdk.models.retrieve("claude-9")
    assert theirs.value.type == "not_found_error"


async def test_no_key(openai_sdk: AsyncOpenAI, anthropic_sdk: AsyncAnthropic) -> None:
    """Each client's AuthenticationError."""
    with pytest.raises(openai.AuthenticationError):
        await openai_sdk.with_options(api_key="wrong").models.list()
    with pytest.raises(anthropic.AuthenticationError):
        await anthropic_sdk.with_options(api_key="wrong").models.list()


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"after_id": "gpt-9"}, "after_id"),
        ({"before_id": "gpt-9"}, "before_id"),
        ({"before_id": "gpt-4o", "after_id": "gpt-4o"}, "before_id"),
    ],
)
async def test_wrong_paging(client: httpx.AsyncClient, query: dict[str, Any], param: str) -> None:
    """400 that names the parameter, in Anthropic's shape."""
    response = await client.get("/v1/models", params=query, headers={"anthropic-version": "2023-06-01"})
    body = response.json()
    assert (response.status_code, body["type"], body["error"]["param"]) == (400, "error", param)


async def test_models_by_record() -> None:
    """They are listed without their provider's key, which only workers have; an alias is found."""
    services = rig().services
    services.models.follow(state_of(provider(), model(aliases=("llama",))))
    transport = httpx.ASGITransport(create_app(services))
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers) as client:
        listed = (await client.get("/v1/models")).json()["data"]
        assert "llama3.2" in {each["id"] for each in listed}
        found = (await client.get("/v1/models/llama")).json()
        assert (found["id"], found["owned_by"]) == ("llama3.2", "ollama")
        assert found["headrace"]["output_usd_per_million"] == 0

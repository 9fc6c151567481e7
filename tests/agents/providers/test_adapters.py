"""Which providers an installation gets."""

import subprocess
import sys
from pathlib import Path

import pytest

from agents.providers.adapters import CHAT, chat_clients, embedding_clients
from streams.model_catalogue import ProviderProtocol
from streams.settings import Settings

_LOADED = """
import asyncio
import sys

import agents.bootstrap
from agents.providers.adapters import chat_clients, embedding_clients
from agents.worker_ports import load_all
from streams.settings import Settings

async def load():
    settings = Settings(
        kafka_bootstrap="k:1", redis_url="redis://r", clickhouse_url="http://c", embeddings="off"
    )
    load_all(settings)
    for clients in (chat_clients(settings), embedding_clients(settings)):
        assert set(clients)
        await clients.aclose()

asyncio.run(load())
print(*sorted({"aiohttp", "anthropic", "httpx", "httpx2", "openai"} & set(sys.modules)))
"""


def settings(**keys: str | None) -> Settings:
    """Return settings with those keys, whatever the environment holds."""
    given = {"openai_api_key": None, "anthropic_api_key": None, **keys}
    return Settings.model_validate(
        {"kafka_bootstrap": "k:1", "redis_url": "redis://r", "clickhouse_url": "http://c", **given}
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, set()),
        ({"openai_api_key": "sk-a"}, {ProviderProtocol.OPENAI}),
        ({"anthropic_api_key": "sk-b"}, {ProviderProtocol.ANTHROPIC}),
        (
            {"openai_api_key": "sk-a", "anthropic_api_key": "sk-b"},
            {ProviderProtocol.OPENAI, ProviderProtocol.ANTHROPIC},
        ),
    ],
)
async def test_there_is_a_client_for_each_key(keys: dict[str, str], expected: set[ProviderProtocol]) -> None:
    """A provider without a key is not there at all."""
    clients = chat_clients(settings(**keys))
    assert set(clients) == expected
    for name in expected:
        async with clients.using(name) as provider:
            assert type(provider) is CHAT[name]
    await clients.aclose()


async def test_embeddings_need_openais_key() -> None:
    """Anthropic has no embeddings."""
    assert not set(embedding_clients(settings(anthropic_api_key="sk-b")))
    clients = embedding_clients(settings(openai_api_key="sk-a"))
    assert set(clients) == {ProviderProtocol.OPENAI}
    await clients.aclose()


def test_a_worker_carries_no_sdk(tmp_path: Path) -> None:
    """They cost a second at each start and 53 MB: neither they nor what they speak HTTP with is imported."""
    result = subprocess.run(
        [sys.executable, "-c", _LOADED],
        cwd=tmp_path,  # where no .env names more keys
        env={"OPENAI_API_KEY": "sk-x", "ANTHROPIC_API_KEY": "sk-y", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.split() == ["aiohttp"]

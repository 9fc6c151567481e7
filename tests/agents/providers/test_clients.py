"""Clients come and go with the control records, and none is closed under a call."""

import asyncio

import pytest
from structlog.testing import capture_logs

from agents.providers.clients import ProviderClients, ProviderEndpoint
from agents.providers.faults import NotConfigured
from streams.model_catalogue import ProviderProtocol
from tests.fakes.model_records import provider, state_of


class FakeClient:
    """Notes where it connects to, and whether it was closed."""

    def __init__(self, *, api_key: str, base_url: str | None) -> None:
        self.api_key = api_key
        self.base_url = base_url
        self.is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True


def clients(**environment: str) -> ProviderClients[FakeClient]:
    shipped = {"openai": ProviderEndpoint(protocol=ProviderProtocol.OPENAI, api_key="sk-shipped")}
    return ProviderClients({ProviderProtocol.OPENAI: FakeClient}, shipped, environment)


async def test_records_add_and_replace_providers() -> None:
    """A record of a shipped provider's name replaces it; taken away, the shipped one is back."""
    made = clients(ROUTER_API_KEY="sk-router\n")
    router = provider("router", base_url="https://router/v1", api_key_env="ROUTER_API_KEY")
    made.follow(state_of(router, provider("openai", base_url="http://proxy/v1")))
    async with made.using("router") as added, made.using("openai") as replaced:
        assert (added.api_key, added.base_url) == ("sk-router", "https://router/v1")
        assert (replaced.api_key, replaced.base_url) == ("", "http://proxy/v1")
    made.follow(state_of())
    assert set(made) == {"openai"}
    async with made.using("openai") as restored:
        assert restored.api_key == "sk-shipped"
    await made.aclose()
    assert added.is_closed
    assert restored.is_closed
    made.follow(state_of(provider()))
    assert not set(made)


async def test_a_client_that_is_taken_away_closes_when_its_last_call_has_ended() -> None:
    """And a new base URL counts for the next call at once."""
    made = clients()
    made.follow(state_of(provider(base_url="http://old/v1")))
    async with made.using("ollama") as old:
        async with made.using("ollama") as same:
            made.follow(state_of(provider(base_url="http://new/v1")))
            async with made.using("ollama") as new:
                assert new.base_url == "http://new/v1"
            assert same is old
        await asyncio.sleep(0)
        assert not old.is_closed
    assert old.is_closed
    made.follow(state_of())
    await asyncio.sleep(0)
    assert new.is_closed
    with pytest.raises(NotConfigured, match="no provider 'ollama' here any more"):
        async with made.using("ollama"):
            pass


async def test_other_changes_leave_clients_alone() -> None:
    """Their connections are kept."""
    made = clients()
    made.follow(state_of(provider()))
    async with made.using("ollama") as before:
        pass
    made.follow(state_of(provider(), provider("other")))
    async with made.using("ollama") as after:
        assert after is before


async def test_without_its_key_there_is_no_client() -> None:
    """The log says which variable to set; a protocol that has no adapter here has no client either."""
    made = clients()
    with capture_logs() as logs:
        made.follow(
            state_of(provider("router", api_key_env="ROUTER_API_KEY"), provider("a", protocol="anthropic"))
        )
    assert set(made) == {"openai"}
    assert [(each["event"], each["variable"]) for each in logs] == [
        ("provider.key_missing", "ROUTER_API_KEY")
    ]


def test_an_endpoint_does_not_show_its_key() -> None:
    """Not in a log, nor in a traceback."""
    assert "sk-x" not in repr(ProviderEndpoint(protocol=ProviderProtocol.OPENAI, api_key="sk-x"))

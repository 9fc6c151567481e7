"""Clients of providers that are there already."""

from collections.abc import Mapping
from typing import Any

from agents.providers.clients import ProviderClients, ProviderEndpoint
from streams.model_catalogue import ProviderProtocol


def clients_of(providers: Mapping[str, Any]) -> ProviderClients[Any]:
    """Return clients that hand out `providers`, by the names of the shipped ones."""
    return ProviderClients(
        {ProviderProtocol(name): lambda each=provider, **_: each for name, provider in providers.items()},
        {name: ProviderEndpoint(protocol=ProviderProtocol(name), api_key="k") for name in providers},
        {},
    )

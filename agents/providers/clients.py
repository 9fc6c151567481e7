"""The clients of the providers: the shipped ones from the settings, the others from the control records.

    clients = chat_clients(settings)
    control.subscribe(clients.follow)
    async with clients.using("ollama") as provider:
        async for event in provider.answer(call): ...

A record of a shipped provider's name replaces it. A client that is replaced or taken away closes when its
last call has ended.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import structlog

from agents.providers.faults import NotConfigured
from streams.control.specs import ProviderSpec
from streams.control.state import ControlState
from streams.model_catalogue import ProviderProtocol
from streams.tasks import DetachedTasks

#: Closing a connection takes no longer.
_CLOSE_S = 5.0

log = structlog.get_logger(__name__)


class Closable(Protocol):
    """What has connections to close."""

    async def aclose(self) -> None:
        """Close the connections."""
        ...


P = TypeVar("P", bound=Closable)


@dataclass(frozen=True, kw_only=True)
class ProviderEndpoint:
    """Where a provider is, and the key for it: empty where it wants none. `base_url` None: the API's own."""

    protocol: ProviderProtocol
    api_key: str = field(repr=False)
    base_url: str | None = None


class _Client(Generic[P]):
    """A client, and how many calls use it."""

    def __init__(self, endpoint: ProviderEndpoint, adapter: P) -> None:
        self.endpoint = endpoint
        self.adapter = adapter
        self.calls = 0
        self.is_retired = False


class ProviderClients(Generic[P]):
    """A client for each provider that has its key, by name. Nothing connects before the first call.

    `adapters` makes the client of each protocol; providers of other protocols have none here. The keys of
    providers by record are in `environment`. Needs a running event loop.
    """

    def __init__(
        self,
        adapters: Mapping[ProviderProtocol, Callable[..., P]],
        shipped: Mapping[str, ProviderEndpoint],
        environment: Mapping[str, str],
    ) -> None:
        self._adapters = adapters
        self._shipped = shipped
        self._environment = environment
        self._specs: Mapping[str, ProviderSpec] = {}
        self._clients: dict[str, _Client[P]] = {}
        self._is_closed = False
        self._closing = DetachedTasks(timeout_s=_CLOSE_S)
        self._renew(shipped)

    def __contains__(self, name: str) -> bool:
        """Whether there is a client for a provider."""
        return name in self._clients

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the providers that there is a client for."""
        return iter(self._clients)

    def follow(self, state: ControlState) -> None:
        """Take up a change of the control records; for `ControlFollower.subscribe`."""
        specs = dict(state.specs(ProviderSpec))
        if specs == self._specs or self._is_closed:
            return
        said = {name: self._endpoint(name, spec) for name, spec in specs.items()}
        wanted = {**self._shipped, **said}
        self._renew({name: endpoint for name, endpoint in wanted.items() if endpoint is not None})
        self._specs = specs

    @asynccontextmanager
    async def using(self, name: str) -> AsyncGenerator[P]:
        """Hold a provider's client for one call; `NotConfigured` where it has been taken away."""
        client = self._clients.get(name)
        if client is None:
            raise NotConfigured(f"there is no provider {name!r} here any more, or no key for it")
        client.calls += 1
        try:
            yield client.adapter
        finally:
            client.calls -= 1
            if client.is_retired and not client.calls:
                await client.adapter.aclose()

    async def aclose(self) -> None:
        """Close all connections; those of calls under way when the last of them ends."""
        self._is_closed = True
        self._renew({})
        await self._closing.close()

    def _endpoint(self, name: str, spec: ProviderSpec) -> ProviderEndpoint | None:
        if spec.protocol not in self._adapters:
            return None
        # Files of secrets end with a line break, which no header takes.
        key = self._environment.get(spec.api_key_env, "").strip() if spec.api_key_env else ""
        if spec.api_key_env and not key:
            log.error("provider.key_missing", provider=name, variable=spec.api_key_env)
            return None
        return ProviderEndpoint(protocol=spec.protocol, api_key=key, base_url=spec.base_url)

    def _renew(self, wanted: Mapping[str, ProviderEndpoint]) -> None:
        """Make the clients those of `wanted`; an unchanged endpoint keeps its client."""
        for name, client in list(self._clients.items()):
            if wanted.get(name) != client.endpoint:
                del self._clients[name]
                self._retire(client)
        for name, endpoint in wanted.items():
            if name not in self._clients:
                adapter = self._adapters[endpoint.protocol](
                    api_key=endpoint.api_key, base_url=endpoint.base_url
                )
                self._clients[name] = _Client(endpoint, adapter)

    def _retire(self, client: _Client[P]) -> None:
        client.is_retired = True
        if not client.calls:
            self._closing.start(client.adapter.aclose())

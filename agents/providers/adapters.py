"""The providers that an installation has keys for. Their SDKs are loaded while the worker starts."""

import asyncio
import importlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import structlog

from agents.providers.faults import ClientNotLoaded, ProviderTimeout
from agents.providers.provider import (
    AnyCall,
    Embedded,
    EmbeddingCall,
    EmbeddingProvider,
    Provider,
    ProviderCall,
    ProviderEvent,
)
from streams.backoff import Backoff
from streams.model_catalogue import ProviderName
from streams.settings import Settings

#: The adapter of each provider, as module and class: see docs/providers.md.
CHAT: Mapping[ProviderName, tuple[str, str]] = {
    ProviderName.OPENAI: ("agents.providers.openai.chat", "OpenAIChat"),
    ProviderName.ANTHROPIC: ("agents.providers.anthropic.messages", "AnthropicMessages"),
}
EMBEDDINGS: Mapping[ProviderName, tuple[str, str]] = {
    ProviderName.OPENAI: ("agents.providers.openai.embeddings", "OpenAIEmbeddings")
}
#: Between two loads: one costs a second of a core, and what makes it fail (a file that is being replaced, no
#: memory) lasts.
_BACKOFF = Backoff(first_s=1.0, max_s=60.0, jitter=0)

log = structlog.get_logger(__name__)


def configured_providers(settings: Settings) -> Mapping[ProviderName, Provider]:
    """Return a client for each provider of chat whose key is set. Nothing connects before the first call.

    Only the SDKs that are needed are loaded, and in the background: Anthropic's takes 1 s and 38 MB of
    memory, OpenAI's 0.4 s and 15 MB. Needs a running event loop.
    """
    return _configured(CHAT, settings)


def configured_embedders(settings: Settings) -> Mapping[ProviderName, EmbeddingProvider]:
    """Return a client for each provider of embeddings whose key is set, as `configured_providers` does."""
    return _configured(EMBEDDINGS, settings)


def import_clients(settings: Settings) -> None:
    """Import the SDKs that are needed, now: making their clients is then quick."""
    for name, (module, _) in CHAT.items():
        if settings.provider_key(name):
            importlib.import_module(module)


def _configured(
    adapters: Mapping[ProviderName, tuple[str, str]], settings: Settings
) -> Mapping[ProviderName, "DeferredProvider"]:
    base_urls = {
        ProviderName.OPENAI: settings.openai_base_url,
        ProviderName.ANTHROPIC: settings.anthropic_base_url,
    }
    return {
        name: DeferredProvider(name, partial(_load, *adapter, api_key=key, base_url=base_urls[name]))
        for name, adapter in adapters.items()
        if (key := settings.provider_key(name))
    }


def _load(module: str, class_name: str, **given: Any) -> Any:
    return getattr(importlib.import_module(module), class_name)(**given)


class DeferredProvider:
    """Loads a provider, of chat or of embeddings, in a thread; its first calls wait for that.

    The import of an SDK takes a second, and a worker that was killed should serve its partitions again before
    that. A load that fails is a fault of this provider, so that others are asked; a later call tries it
    again.
    """

    def __init__(
        self, name: ProviderName, load: Callable[[], Any], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._load = load
        self._monotonic = monotonic
        self._failures = 0
        self._not_before = float("-inf")
        self._loading = asyncio.ensure_future(self._loaded_or_fault())

    async def answer(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        """Yield the answer as the provider does, or raise `ClientNotLoaded`."""
        async with aclosing((await self._loaded(call)).answer(call)) as events:
            async for event in events:
                yield event

    async def embed(self, call: EmbeddingCall) -> Embedded:
        """Return the vectors as the provider does, or raise `ClientNotLoaded`."""
        vectors: Embedded = await (await self._loaded(call)).embed(call)
        return vectors

    async def aclose(self) -> None:
        """Close the connections, if there are any."""
        loaded = await self._loading
        if not isinstance(loaded, ClientNotLoaded):
            await loaded.aclose()

    async def _loaded(self, call: AnyCall) -> Any:
        if (
            self._loading.done()
            and isinstance(self._loading.result(), ClientNotLoaded)
            and self._monotonic() >= self._not_before
        ):
            self._loading = asyncio.ensure_future(self._loaded_or_fault())
        limit_s = min(call.timeouts.first_token_s, call.timeouts.total_s)
        # `wait` leaves the loading alone when the time is over, and when the call is cancelled.
        await asyncio.wait((self._loading,), timeout=limit_s)
        if not self._loading.done():
            raise ProviderTimeout("first_token", after_s=limit_s)
        loaded = self._loading.result()
        if isinstance(loaded, ClientNotLoaded):
            raise ClientNotLoaded(loaded.message)
        return loaded

    async def _loaded_or_fault(self) -> Any:
        try:
            provider = await asyncio.to_thread(self._load)
        except Exception as fault:  # whatever an import raises: others can be asked
            self._failures += 1
            self._not_before = self._monotonic() + _BACKOFF.wait_s(self._failures)
            message = f"the client of {self.name} cannot be loaded ({type(fault).__name__}: {fault})"
            if self._failures == 1:  # once: each call that fails for it has a line of its own
                log.exception(
                    "provider.not_loaded",
                    provider=self.name,
                    message=f"{message}; other providers are asked, and loading is tried again; "
                    "if it goes on, reinstall Headrace or check the provider's settings",
                    exc_info=fault,
                )
            return ClientNotLoaded(message)
        if self._failures:
            log.info("provider.loaded_after_all", provider=self.name, failures=self._failures)
        return provider

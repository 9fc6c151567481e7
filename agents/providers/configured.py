"""The providers that an installation has keys for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from agents.providers.deferred import DeferredEmbeddings, DeferredProvider
from agents.providers.provider import EmbeddingProvider, Provider
from streams.models import ProviderName
from streams.settings import Settings

#: The adapter of each provider, as module and class: see docs/providers.md.
CHAT: Mapping[ProviderName, tuple[str, str]] = {
    ProviderName.OPENAI: ("agents.providers.openai.chat", "OpenAIChat"),
    ProviderName.ANTHROPIC: ("agents.providers.anthropic.messages", "AnthropicMessages"),
}
EMBEDDINGS: Mapping[ProviderName, tuple[str, str]] = {
    ProviderName.OPENAI: ("agents.providers.openai.embeddings", "OpenAIEmbeddings"),
}


def configured_providers(settings: Settings) -> Mapping[ProviderName, Provider]:
    """Return a client for each provider of chat whose key is set. Nothing connects before the first call.

    Only the SDKs that are needed are loaded, and in the background: Anthropic's takes 1 s and 38 MB of
    memory, OpenAI's 0.4 s and 15 MB. Needs a running event loop.
    """
    return {name: DeferredProvider(name, load) for name, load in _loaders(CHAT, settings).items()}


def configured_embedders(settings: Settings) -> Mapping[ProviderName, EmbeddingProvider]:
    """Return a client for each provider of embeddings whose key is set, as `configured_providers` does."""
    return {name: DeferredEmbeddings(name, load) for name, load in _loaders(EMBEDDINGS, settings).items()}


def import_clients(settings: Settings) -> None:
    """Import the SDKs that are needed, now: making their clients is then quick."""
    for name, (module, _) in CHAT.items():
        if settings.provider_key(name):
            importlib.import_module(module)


def _loaders(
    adapters: Mapping[ProviderName, tuple[str, str]], settings: Settings
) -> Mapping[ProviderName, Callable[[], Any]]:
    base_urls = {
        ProviderName.OPENAI: settings.openai_base_url,
        ProviderName.ANTHROPIC: settings.anthropic_base_url,
    }

    def loader(name: ProviderName, key: str) -> Callable[[], Any]:
        def load() -> Any:
            module, class_name = adapters[name]
            adapter = getattr(importlib.import_module(module), class_name)
            return adapter(api_key=key, base_url=base_urls[name])

        return load

    return {name: loader(name, key) for name in adapters if (key := settings.provider_key(name))}

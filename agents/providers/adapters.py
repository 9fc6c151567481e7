"""The providers that an installation has keys for."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from agents.providers.anthropic.messages import AnthropicMessages
from agents.providers.openai.chat import OpenAIChat
from agents.providers.openai.embeddings import OpenAIEmbeddings
from agents.providers.provider import Provider
from streams.model_catalogue import ProviderName
from streams.settings import Settings

P = TypeVar("P")

#: The adapter of each provider: see docs/providers.md.
CHAT: Mapping[ProviderName, Callable[..., Provider]] = {
    ProviderName.OPENAI: OpenAIChat,
    ProviderName.ANTHROPIC: AnthropicMessages,
}
EMBEDDINGS: Mapping[ProviderName, Callable[..., OpenAIEmbeddings]] = {ProviderName.OPENAI: OpenAIEmbeddings}


def configured_providers(settings: Settings) -> Mapping[ProviderName, Provider]:
    """Return a client for each provider of chat whose key is set. Nothing connects before the first call.

    Needs a running event loop.
    """
    return _configured(CHAT, settings)


def configured_embedders(settings: Settings) -> Mapping[ProviderName, OpenAIEmbeddings]:
    """Return a client for each provider of embeddings whose key is set, as `configured_providers` does."""
    return _configured(EMBEDDINGS, settings)


def _configured(
    adapters: Mapping[ProviderName, Callable[..., P]], settings: Settings
) -> Mapping[ProviderName, P]:
    base_urls = {
        ProviderName.OPENAI: settings.openai_base_url,
        ProviderName.ANTHROPIC: settings.anthropic_base_url,
    }
    return {
        name: adapter(api_key=key, base_url=base_urls[name])
        for name, adapter in adapters.items()
        if (key := settings.provider_key(name))
    }

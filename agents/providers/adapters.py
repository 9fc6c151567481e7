"""Which adapter speaks each protocol, and the clients that an installation has keys for."""

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from agents.providers.anthropic.messages import AnthropicMessages
from agents.providers.clients import Closable, ProviderClients, ProviderEndpoint
from agents.providers.openai.chat import OpenAIChat
from agents.providers.openai.embeddings import OpenAIEmbeddings
from agents.providers.provider import Provider
from streams.model_catalogue import ProviderProtocol
from streams.settings import Settings

P = TypeVar("P", bound=Closable)

#: The adapter of each protocol: see docs/providers.md.
CHAT: Mapping[ProviderProtocol, Callable[..., Provider]] = {
    ProviderProtocol.OPENAI: OpenAIChat,
    ProviderProtocol.ANTHROPIC: AnthropicMessages,
}
EMBEDDINGS: Mapping[ProviderProtocol, Callable[..., OpenAIEmbeddings]] = {
    ProviderProtocol.OPENAI: OpenAIEmbeddings
}


def chat_clients(settings: Settings) -> ProviderClients[Provider]:
    """Return the clients for chat: at first of each shipped provider whose key is set."""
    return _clients(CHAT, settings)


def embedding_clients(settings: Settings) -> ProviderClients[OpenAIEmbeddings]:
    """Return the clients for embeddings, as `chat_clients` does."""
    return _clients(EMBEDDINGS, settings)


def _clients(adapters: Mapping[ProviderProtocol, Callable[..., P]], settings: Settings) -> ProviderClients[P]:
    base_urls = {
        ProviderProtocol.OPENAI: settings.openai_base_url,
        ProviderProtocol.ANTHROPIC: settings.anthropic_base_url,
    }
    shipped = {
        protocol.value: ProviderEndpoint(protocol=protocol, api_key=key, base_url=base_urls[protocol])
        for protocol in adapters
        if (key := settings.provider_key(protocol))
    }
    return ProviderClients(adapters, shipped, os.environ)

"""The providers that an installation has keys for."""

import importlib
from collections.abc import Mapping

from agents.providers.deferred import Deferred, DeferredEmbeddings
from agents.providers.port import EmbeddingProvider, Provider
from streams.models import ProviderName
from streams.settings import Settings


def configured_providers(settings: Settings) -> Mapping[ProviderName, Provider]:
    """Return a client for each provider whose key is set. Nothing connects before the first call.

    Only the official clients that are needed are loaded, and in the background: Anthropic's takes 1 s and
    38 MB of memory, OpenAI's 0.4 s and 15 MB. Needs a running event loop.
    """
    providers: dict[ProviderName, Provider] = {}
    if openai_key := settings.provider_key(ProviderName.OPENAI):

        def openai() -> Provider:
            from agents.providers.openai.chat import OpenAIChat  # noqa: PLC0415  # see above

            return OpenAIChat(api_key=openai_key, base_url=settings.openai_base_url)

        providers[ProviderName.OPENAI] = Deferred(ProviderName.OPENAI, openai)
    if anthropic_key := settings.provider_key(ProviderName.ANTHROPIC):

        def anthropic() -> Provider:
            from agents.providers.anthropic.messages import AnthropicMessages  # noqa: PLC0415  # see above

            return AnthropicMessages(api_key=anthropic_key, base_url=settings.anthropic_base_url)

        providers[ProviderName.ANTHROPIC] = Deferred(ProviderName.ANTHROPIC, anthropic)
    return providers


def configured_embedders(settings: Settings) -> Mapping[ProviderName, EmbeddingProvider]:
    """Return a client for each provider of embeddings whose key is set, as `configured_providers` does."""
    key = settings.provider_key(ProviderName.OPENAI)
    if key is None:
        return {}

    def openai() -> EmbeddingProvider:
        from agents.providers.openai.embeddings import OpenAIEmbeddings  # noqa: PLC0415  # see above

        return OpenAIEmbeddings(api_key=key, base_url=settings.openai_base_url)

    return {ProviderName.OPENAI: DeferredEmbeddings(ProviderName.OPENAI, openai)}


def import_clients(settings: Settings) -> None:
    """Import the official clients that are needed, now: making them is then quick."""
    modules = {ProviderName.OPENAI: "openai_chat", ProviderName.ANTHROPIC: "anthropic_messages"}
    for name, module in modules.items():
        if settings.provider_key(name):
            importlib.import_module(f"agents.providers.{module}")

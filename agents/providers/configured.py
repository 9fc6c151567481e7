"""The providers that an installation has keys for."""

from collections.abc import Mapping

from agents.providers.anthropic_messages import AnthropicMessages
from agents.providers.openai_chat import OpenAIChat
from agents.providers.port import Provider
from streams.models import ProviderName
from streams.settings import Settings


def configured_providers(settings: Settings) -> Mapping[ProviderName, Provider]:
    """Return a client for each provider whose key is set. Nothing connects before the first call."""
    providers: dict[ProviderName, Provider] = {}
    if key := settings.provider_key(ProviderName.OPENAI):
        providers[ProviderName.OPENAI] = OpenAIChat(api_key=key, base_url=settings.openai_base_url)
    if key := settings.provider_key(ProviderName.ANTHROPIC):
        providers[ProviderName.ANTHROPIC] = AnthropicMessages(
            api_key=key, base_url=settings.anthropic_base_url
        )
    return providers

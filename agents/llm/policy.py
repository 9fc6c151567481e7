"""The settings of the LLM stage."""

from typing import Self

import msgspec

from agents.providers.port import Timeouts
from streams.settings import Settings


class LlmPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How the LLM stage behaves. Times are in seconds.

    `provider_timeout_s` is the longest silence: until the first token, between two tokens, and until the
    answer where it comes whole. `provider_total_timeout_s` is the longest a streamed answer may take, however
    steadily it comes. `read_on_s` is how long a stream is read on whose answer was blocked.
    """

    instance: str = "worker-0"
    fallback_models: tuple[str, ...] = ()
    tries_per_model: int = 3
    default_temperature: float = 0.7
    connect_timeout_s: float = 5.0
    provider_timeout_s: float = 30.0
    provider_total_timeout_s: float = 600.0
    breaker_threshold: int = 5
    breaker_reset_s: float = 15.0
    delta_interval_s: float = 0.03
    delta_max_chars: int = 2_000
    read_on_s: float = 1.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the policy that the installation's settings ask for."""
        return cls(
            instance=settings.instance_id,
            fallback_models=settings.fallback_models,
            tries_per_model=settings.provider_tries,
            default_temperature=settings.default_temperature,
            connect_timeout_s=settings.provider_connect_timeout_s,
            provider_timeout_s=settings.provider_timeout_s,
            provider_total_timeout_s=settings.provider_total_timeout_s,
            breaker_threshold=settings.breaker_threshold,
            breaker_reset_s=settings.breaker_reset_s,
        )

    def timeouts(self, *, remaining_s: float, stream: bool) -> Timeouts:
        """Return the timeouts of a call that must end within `remaining_s`."""
        return Timeouts(
            connect_s=self.connect_timeout_s,
            first_token_s=self.provider_timeout_s,
            between_tokens_s=self.provider_timeout_s,
            total_s=self.provider_total_timeout_s if stream else self.provider_timeout_s,
        ).within(remaining_s)

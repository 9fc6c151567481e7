"""The settings of the LLM stage."""

from typing import Any, Self

from agents.paid_calls.call_policy import CallPolicy
from streams.settings import Settings


class LlmSettings(CallPolicy, frozen=True, kw_only=True):
    """How the LLM stage behaves, beside how calls are made.

    Attributes:
        fallback_models: who is asked after the model that is wanted, in order.
        default_temperature: where the request names none.
        delta_interval_s: the shortest time between two deltas of a stream, in seconds; see `DeltaPace`.
        delta_max_interval_s: the longest one, in seconds.
        delta_records_per_s: the deltas of all streams together, each second.
        delta_max_chars: a delta goes out earlier when it would grow beyond this.
        read_on_s: how long a stream is read on whose answer was blocked, in seconds.
    """

    fallback_models: tuple[str, ...] = ()
    default_temperature: float = 0.7
    delta_interval_s: float = 0.03
    delta_max_interval_s: float = 1.0
    delta_records_per_s: float = 800.0
    delta_max_chars: int = 2_000
    read_on_s: float = 1.0

    @classmethod
    def from_settings(cls, settings: Settings, **more: Any) -> Self:
        """Return the settings of the stage, from those of the installation."""
        return super().from_settings(
            settings,
            fallback_models=settings.fallback_models,
            default_temperature=settings.default_temperature,
            **more,
        )

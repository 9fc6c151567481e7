"""A model that can be asked."""

import msgspec

from streams.models import Model


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A model to ask, and the longest output asked for, in tokens."""

    model: Model
    max_output_tokens: int = 0

    @property
    def name(self) -> str:
        """Provider and model, e.g. ``openai/gpt-4o``."""
        return f"{self.model.provider}/{self.model.name}"

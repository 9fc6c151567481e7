"""The types of the parameter table: effects, rules, rows."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Effect(StrEnum):
    """What becomes of a parameter."""

    UNDERSTOOD = "understood"
    PASSED = "passed on"
    TRANSLATED = "translated"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


class ParameterRule(NamedTuple):
    """What becomes of a parameter at models of one API.

    Attributes:
        effect: the effect.
        note: completes it; of what is refused, what to do instead.
        values: of a refused parameter, the values that are accepted nevertheless; of a translated one, the
            only values that are accepted, and what each becomes.
    """

    effect: Effect
    note: str = ""
    values: Mapping[Any, object] | None = None


class Parameter(NamedTuple):
    """One row: the paths in a Chat Completions and in a Messages request, empty where that API has none.

    `whole`: the row covers what lies below the path, too.
    """

    openai_path: str
    anthropic_path: str
    to_openai: ParameterRule
    to_anthropic: ParameterRule
    whole: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether the parameter is refused whatever the model."""
        return self.to_openai.effect is self.to_anthropic.effect is Effect.REFUSED

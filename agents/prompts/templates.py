"""Prompt templates and how they are rendered."""

import re
from collections.abc import Mapping

import msgspec

from streams.errors import InvalidRequest

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class PromptTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a prompt. `text` holds `{name}` placeholders; braces otherwise stand for themselves."""

    name: str
    version: str
    text: str
    model: str = "gpt-4o"
    max_output_tokens: int = 1024

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names that must be given a value, in order of appearance."""
        return tuple(dict.fromkeys(_PLACEHOLDER.findall(self.text)))

    def render(self, variables: Mapping[str, str]) -> str:
        """Return the prompt with every placeholder replaced. Values are never interpreted.

        Raises:
            InvalidRequest: a placeholder has no value.
        """
        missing = [name for name in self.placeholders if name not in variables]
        if missing:
            raise InvalidRequest(
                f"template {self.name} {self.version} needs variables.{missing[0]}",
                code="missing_variable",
                param=f"variables.{missing[0]}",
            )
        return _PLACEHOLDER.sub(lambda match: variables[match[1]], self.text)

    @property
    def instructions(self) -> str:
        """The template without its placeholders: what an answer must not give away."""
        return _PLACEHOLDER.sub(" ", self.text)

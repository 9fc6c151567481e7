"""The prompt templates that ship with Headrace, and the experiments that choose between two versions."""

import hashlib
import re
from collections.abc import Mapping, Sequence

import msgspec

from streams.errors import InvalidRequest
from streams.events import PromptRef

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_BUCKETS = 100


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
        """Return the prompt with every placeholder replaced. Values are never interpreted."""
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


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """Sends `traffic_pct` percent of the users to `variant`, the others to `control`."""

    name: str
    template: str
    control: str
    variant: str
    traffic_pct: int

    def assign(self, user_id: str) -> tuple[str, str]:
        """Return the arm (``control`` or ``variant``) and the version that this user always gets.

        The bucket is a hash of user and experiment, so that a user's arms in two experiments are
        independent of each other.
        """
        digest = hashlib.md5(f"{user_id}:{self.name}".encode(), usedforsecurity=False).hexdigest()
        if int(digest, 16) % _BUCKETS < self.traffic_pct:
            return "variant", self.variant
        return "control", self.control


DEFAULT_TEMPLATE = "general_chat"
_DEFAULT_VERSION = "v1"

_TEMPLATES = (
    PromptTemplate(
        name="general_chat",
        version="v1",
        text=(
            "You are a helpful AI assistant. Answer the user's question clearly and concisely.\n\n"
            "User question: {query}"
        ),
    ),
    PromptTemplate(
        name="general_chat",
        version="v2",
        text=(
            "You are an AI assistant that gives precise, actionable answers. "
            "If you are unsure, say so. Never fabricate information.\n\n"
            "Question: {query}\n\nAnswer:"
        ),
    ),
    PromptTemplate(
        name="rag_answer",
        version="v1",
        text=(
            "Answer the question using ONLY the provided context. "
            "If the context does not contain the answer, say 'I don't have enough information.'\n\n"
            "Context:\n{context}\n\nQuestion: {query}\n\nAnswer:"
        ),
        max_output_tokens=512,
    ),
    PromptTemplate(
        name="code_review",
        version="v1",
        text=(
            "You are a senior software engineer performing a code review. "
            "Identify bugs, security issues, and performance problems. "
            "Be specific. Reference line numbers.\n\n"
            "Code:\n```\n{code}\n```\n\nReview:"
        ),
        model="claude-sonnet-4-20250514",
        max_output_tokens=2048,
    ),
)

_EXPERIMENTS = (
    Experiment(
        name="general_chat_v2_test", template="general_chat", control="v1", variant="v2", traffic_pct=10
    ),
)


class PromptCatalogue:
    """Chooses the version of a prompt for a user. A template has at most one running experiment."""

    def __init__(
        self,
        templates: Sequence[PromptTemplate] = _TEMPLATES,
        experiments: Sequence[Experiment] = _EXPERIMENTS,
    ) -> None:
        self._versions: dict[str, dict[str, PromptTemplate]] = {}
        for template in templates:
            self._versions.setdefault(template.name, {})[template.version] = template
        self._experiments: Mapping[str, Experiment] = {each.template: each for each in experiments}

    def resolve(self, name: str, user_id: str) -> tuple[PromptTemplate, PromptRef]:
        """Return the template version for this user, and how it was chosen."""
        versions = self._versions.get(name)
        if versions is None:
            known = ", ".join(sorted(self._versions))
            raise InvalidRequest(
                f"unknown template {name!r}; known templates: {known}",
                code="template_not_found",
                param="template",
            )
        experiment = self._experiments.get(name)
        if experiment is None:
            template = versions[_DEFAULT_VERSION]
            return template, PromptRef(name=name, version=template.version)
        arm, version = experiment.assign(user_id)
        return versions[version], PromptRef(name=name, version=version, experiment=experiment.name, arm=arm)

    def version(self, prompt: PromptRef) -> PromptTemplate | None:
        """Return the template that a request was rendered with, or None if it is gone."""
        return self._versions.get(prompt.name, {}).get(prompt.version)

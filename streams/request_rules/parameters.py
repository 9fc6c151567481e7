"""The parameters of `ChatRequested.params`: for the models' own APIs, not used by Headrace itself.

`streams.request_rules.parameter_table` says what becomes of each.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from streams.events import CacheControl, ChatRequested, Name, TextPart
from streams.model_catalogue import ProviderProtocol
from streams.request_rules.parameter_table import OPENAI_PATHS, Effect, ParameterRule

Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
#: OpenAI takes whole numbers: they are passed on as they came.
Bias = Annotated[int, Meta(ge=-100, le=100)] | Annotated[float, Meta(ge=-100.0, le=100.0)]
Beta = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)")]
MAX_EXTRA_CHARS: Final = 32_000

#: The hint for a parameter of neither API.
UNKNOWN_HINT: Final = (
    "it is not known here; the operator may let a parameter through: HEADRACE_EXTRA_PARAMETERS"
)

_BEGINS: Final = "Anthropic's models take no conversation that begins with an answer"
_ENDS: Final = (
    "Anthropic's models would go on with an answer that is the last message; the last one must be the user's"
)


class _Strict(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Refuses unknown fields; its subclasses do, too."""


class Prediction(_Strict, frozen=True, kw_only=True, tag_field="type", tag="content"):
    """Text that the answer will mostly be."""

    content: str | tuple[TextPart, ...]


class PromptCacheOptions(_Strict, frozen=True, kw_only=True):
    """How OpenAI caches the prompt."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: Literal["30m"] | None = None


class Thinks(_Strict, frozen=True, kw_only=True, tag_field="type"):
    """How the thinking of Anthropic's models is shown."""

    display: Literal["summarized", "omitted"] | None = None


class ThinkingEnabled(Thinks, frozen=True, kw_only=True, tag="enabled"):
    """Think for up to so many tokens, which count as output."""

    budget_tokens: Annotated[int, Meta(ge=1024)]


class ThinkingAdaptive(Thinks, frozen=True, kw_only=True, tag="adaptive"):
    """Think as long as it seems worth it."""


class ThinkingDisabled(_Strict, frozen=True, kw_only=True, tag_field="type", tag="disabled"):
    """Do not think."""


class Parameters(_Strict, frozen=True, kw_only=True):
    """The parameters by name. Those of OpenAI's API first, then those of Anthropic's."""

    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=1024)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    prompt_cache_key: Name | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    safety_identifier: Name | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "standard_only"] | None = (
        None
    )
    store: bool | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    betas: Annotated[tuple[Beta, ...], Meta(max_length=16)] | None = None
    cache_control: CacheControl | None = None
    thinking: ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


NAMES: Final = frozenset(Parameters.__struct_fields__)


class UnsupportedParameter(NamedTuple):
    """A parameter that models of a provider do not support, and why."""

    param: str
    why: str


def params_of(body: Parameters) -> dict[str, Any] | None:
    """Return the parameters of a body in the form of `ChatRequested.params`; None for none."""
    given = {name: getattr(body, name) for name in Parameters.__struct_fields__}
    found = {name: msgspec.to_builtins(value) for name, value in given.items() if value is not None}
    return found or None


def unsupported_parameter(request: ChatRequested, provider: ProviderProtocol) -> UnsupportedParameter | None:
    """Return the first parameter of a request that models of a provider do not support, or None.

    One of neither API was let through by `HEADRACE_EXTRA_PARAMETERS`, to models behind OpenAI's API.
    """
    for name, value in (request.params or {}).items():
        rule = _rule(name, provider)
        if rule is None:
            if provider is not ProviderProtocol.OPENAI:
                return UnsupportedParameter(name, "only models behind OpenAI's API take extra parameters")
        elif not _is_supported(name, rule, value):
            return UnsupportedParameter(name, rule.note)
    if provider is ProviderProtocol.ANTHROPIC:
        return _unsupported_at_anthropic(request)
    return None


def passed_on(params: Mapping[str, Any], provider: ProviderProtocol) -> dict[str, Any]:
    """Return the parameters that models of a provider receive, by the same names."""
    found = {}
    for name, value in params.items():
        rule = _rule(name, provider)
        if rule is None or rule.effect is Effect.PASSED:
            found[name] = value
        elif rule.effect is Effect.TRANSLATED:
            found[name] = rule.values[value] if rule.values else value
    return found


@cache
def _rule(name: str, provider: ProviderProtocol) -> ParameterRule | None:
    row = OPENAI_PATHS.get(name)
    if row is None:
        return None
    return row.to_openai if provider is ProviderProtocol.OPENAI else row.to_anthropic


def _is_supported(name: str, rule: ParameterRule, value: Any) -> bool:
    if name == "thinking" and isinstance(value, Mapping) and value.get("type") == "disabled":
        return True
    if name == "logit_bias" and not value:
        return True
    if rule.values is not None:
        return isinstance(value, str | int | float) and value in rule.values
    return rule.effect is not Effect.REFUSED


def _unsupported_at_anthropic(request: ChatRequested) -> UnsupportedParameter | None:
    for index, sequence in enumerate(request.stop or ()):
        if not sequence.strip():
            return UnsupportedParameter(
                f"stop[{index}]", "Anthropic's models take no stop sequence of white space alone"
            )
    # The turns of the conversation, without instructions and empty messages.
    turns = [
        (index, message.role)
        for index, message in enumerate(request.messages or ())
        if message.role == "tool"
        or (message.role in ("user", "assistant") and (message.text or message.tool_calls))
    ]
    for (index, role), why in zip(turns[:1] + turns[-1:], (_BEGINS, _ENDS), strict=False):
        if role == "assistant":
            return UnsupportedParameter(f"messages[{index}].role", why)
    thinking = (request.params or {}).get("thinking") or {}
    if thinking.get("type", "disabled") != "disabled" and request.tools:
        why = "not together with tools: models then want their thinking back, which is not kept"
        return UnsupportedParameter("thinking", why)
    return None

"""What becomes of every parameter of a chat request, at models of either API.

The checks of ingest and guardrail take their words from it, the providers' adapters what they pass on, and
`docs/http.md` its tables (`scripts/parameter_docs.py`). A test fails for a parameter of the official SDKs
that has no row.

A path is spelled as the API spells it: `[]` is any element of a list, `<text>` the elements of this `type`,
`<*>` the elements of every type without a row of its own.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Any, Final, NamedTuple


class Effect(StrEnum):
    """What becomes of a parameter."""

    UNDERSTOOD = "understood"
    PASSED = "passed on"
    TRANSLATED = "translated"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


class ParameterRule(NamedTuple):
    """What becomes of a parameter at models of one API."""

    effect: Effect
    note: str = ""  # completes the effect; of what is refused, what to do instead
    #: Of a refused parameter, the values that are accepted nevertheless; of a translated one, the only values
    #: that are accepted, and what each becomes.
    values: Mapping[Any, object] | None = None


class Parameter(NamedTuple):
    """One row: the paths in a Chat Completions and in a Messages request, empty where that API has none."""

    openai_path: str
    anthropic_path: str
    to_openai: ParameterRule
    to_anthropic: ParameterRule
    whole: bool = False  # the row covers what lies below the path, too

    @property
    def is_refused(self) -> bool:
        """Whether the parameter is refused whatever the model."""
        return self.to_openai.effect is self.to_anthropic.effect is Effect.REFUSED


_UNDERSTOOD = ParameterRule(Effect.UNDERSTOOD)
_PASSED = ParameterRule(Effect.PASSED)
_passed = partial(ParameterRule, Effect.PASSED)
_translated = partial(ParameterRule, Effect.TRANSLATED)
_refused = partial(ParameterRule, Effect.REFUSED)
_none = partial(ParameterRule, Effect.NO_EFFECT)


def _both(openai: str, anthropic: str, rule: ParameterRule, *, whole: bool = False) -> Parameter:
    return Parameter(openai, anthropic, rule, rule, whole)


def _no(path: str, note: str) -> Parameter:
    """A parameter of OpenAI's API that is refused whatever the model."""
    return _both(path, "", _refused(note), whole=True)


def _never(path: str, note: str) -> Parameter:
    """A parameter of Anthropic's API that is refused whatever the model."""
    return _both("", path, _refused(note), whole=True)


def _cached(openai: str, anthropic: str) -> Parameter:
    """A cache breakpoint."""
    no_effect = _none("OpenAI's models cache prompts by themselves")
    return Parameter(openai, anthropic, no_effect, _PASSED, whole=True)


_HASHED = _translated("passed on as a hash: providers never learn who asks")
_NO_PENALTY = _refused("Anthropic's models have no penalties; leave it out, or at 0", {0: None})
_EFFORTS: Final = {name: name for name in ("low", "medium", "high", "xhigh", "max")}
_ANTHROPIC_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_OPENAI_TIERS: Final = {name: name for name in ("auto", "default", "flex", "scale", "priority", "fast")} | {
    "standard_only": "default"
}
_NO_HINT = "it hints at how OpenAI caches; use cache_control"
_NO_SUCH = "Anthropic's models have no such parameter"
_NOTHING_TO_CITE = "documents are not supported, so that there is nothing to cite"
_NO_TOOLSETS = "toolsets are not there: use custom tools"
_NO_THREADS = "send the messages that the model is to see"
_NO_FALLBACKS = "which models stand in is the operator's choice (HEADRACE_FALLBACK_MODELS)"

#: Understood: paths of both APIs, of OpenAI's alone, of Anthropic's alone.
_BOTH = """
    model messages messages[].role messages[].content messages[].content[]<text>
    messages[].content[]<text>.type messages[].content[]<text>.text stream
"""
_OPENAI = """
    max_tokens tools[]<function>.function messages[].tool_calls stream_options
    stream_options.include_usage
"""
_ANTHROPIC = """
    tool_choice<auto>.type tool_choice<any>.type tool_choice<auto>.disable_parallel_tool_use
    tool_choice<any>.disable_parallel_tool_use output_config metadata system system[]<text>
    system[]<text>.type system[]<text>.text messages[].content[]<tool_use>.type
    messages[].content[]<tool_result>.type messages[].content[]<tool_result>.content
    messages[].content[]<tool_result>.content[]<text>.type
    messages[].content[]<tool_result>.content[]<text>.text
"""

PARAMETERS: Final = (
    *(_both(path, path, _UNDERSTOOD) for path in _BOTH.split()),
    *(_both(path, "", _UNDERSTOOD) for path in _OPENAI.split()),
    *(_both("", path, _UNDERSTOOD) for path in _ANTHROPIC.split()),
    # What both APIs have.
    _cached("messages[].content[]<text>.cache_control", "messages[].content[]<text>.cache_control"),
    _both("max_completion_tokens", "max_tokens", _UNDERSTOOD),
    Parameter("temperature", "temperature", _PASSED, _translated("above 1 it becomes 1, their most")),
    _both("top_p", "top_p", _PASSED),
    Parameter(
        "stop", "stop_sequences", _PASSED, _passed("as `stop_sequences`, which must not be white space alone")
    ),
    Parameter("tools", "tools", _PASSED, _translated("into their form")),
    _both("tools[]<function>.type", "tools[]<custom>.type", _UNDERSTOOD),
    _both("tools[]<function>.function.name", "tools[]<custom>.name", _PASSED),
    _both("tools[]<function>.function.description", "tools[]<custom>.description", _PASSED),
    _both("tools[]<function>.function.parameters", "tools[]<custom>.input_schema", _PASSED, whole=True),
    _both("tools[]<function>.function.strict", "tools[]<custom>.strict", _PASSED),
    _cached("tools[]<function>.cache_control", "tools[]<custom>.cache_control"),
    Parameter("tool_choice", "tool_choice", _PASSED, _translated("into their form")),
    _both("tool_choice<function>", "tool_choice<tool>", _UNDERSTOOD, whole=True),
    _both("", "tool_choice<none>", _UNDERSTOOD, whole=True),
    Parameter(
        "parallel_tool_calls",
        "tool_choice.disable_parallel_tool_use",
        _PASSED,
        _translated("into `tool_choice.disable_parallel_tool_use`"),
    ),
    Parameter(
        "response_format",
        "output_config.format",
        _PASSED,
        _translated("into instructions; the answer is checked against the schema"),
        whole=True,
    ),
    Parameter(
        "reasoning_effort",
        "output_config.effort",
        _PASSED,
        _translated("into `output_config.effort`; low, medium, high, xhigh or max", _EFFORTS),
    ),
    Parameter(
        "service_tier",
        "service_tier",
        _translated("passed on; `standard_only` becomes `default`", _OPENAI_TIERS),
        _translated(
            "passed on; `default` becomes `standard_only`; others they have not: use auto or default",
            _ANTHROPIC_TIERS,
        ),
    ),
    _both("user", "metadata.user_id", _HASHED),
    # What OpenAI's API has.
    Parameter(
        "messages[].name",
        "",
        _PASSED,
        _translated("said before the text: `Ann: …`; that of a tool's result has no effect beside its id"),
    ),
    _both("messages[].tool_call_id", "", _PASSED),
    _both("messages[].tool_calls[]<function>", "", _PASSED, whole=True),
    _no("messages[].tool_calls[]<custom>", "custom tools are not there: use functions"),
    _both(
        "messages[].refusal",
        "",
        _translated("the message's text where it has no content; beside content it is refused"),
    ),
    _no("messages[].audio", "answers are text: hand their text back in content"),
    _no("messages[].function_call", "use tool_calls"),
    _no("messages[].content[]<*>", "only text parts are supported"),
    Parameter("messages[].content[]<text>.prompt_cache_breakpoint", "", _PASSED, _none(_NO_HINT), whole=True),
    _no("audio", "answers are text"),
    Parameter("frequency_penalty", "", _PASSED, _NO_PENALTY),
    Parameter("presence_penalty", "", _PASSED, _NO_PENALTY),
    _no("function_call", "use tool_choice"),
    _no("functions", "use tools"),
    Parameter("logit_bias", "", _PASSED, _refused(_NO_SUCH)),
    _both("logprobs", "", _refused("answers come without log probabilities", {False: None})),
    _no("top_logprobs", "answers come without log probabilities"),
    Parameter(
        "metadata",
        "",
        _passed("where `store` is true, as OpenAI's API asks for"),
        _none("it labels what OpenAI stores"),
    ),
    _both("modalities", "", _refused('answers are text: leave it out, or send ["text"]')),
    _no("moderation", "the guardrails check input and output"),
    _both("n", "", _refused("one request has one answer: n must be 1", {1: None})),
    Parameter("prediction", "", _PASSED, _none("it only makes OpenAI's models faster"), whole=True),
    Parameter("prompt_cache_key", "", _PASSED, _none(_NO_HINT)),
    Parameter("prompt_cache_options", "", _PASSED, _none(_NO_HINT), whole=True),
    Parameter("prompt_cache_retention", "", _PASSED, _none(_NO_HINT)),
    Parameter("safety_identifier", "", _HASHED, _none("the hash of `user` is passed on")),
    Parameter("seed", "", _PASSED, _none("they have none; it is best effort at OpenAI's models, too")),
    Parameter("store", "", _PASSED, _none("nothing is stored there for later use")),
    _both(
        "stream_options.include_obfuscation",
        "",
        _refused("streams are not padded: leave it out, or send false", {False: None}),
    ),
    _no("tool_choice<allowed_tools>", "send only the tools that are allowed"),
    _no("tool_choice<custom>", "custom tools are not there: use functions"),
    _no("tools[]<*>", "only functions are supported, which the client runs"),
    Parameter("verbosity", "", _PASSED, _refused(f"{_NO_SUCH}: say it in words")),
    _no("web_search_options", "models do not search the web"),
    # What Anthropic's API has.
    _cached("", "system[]<text>.cache_control"),
    _never("system[]<text>.citations", _NOTHING_TO_CITE),
    _never("messages[].content[]<text>.citations", _NOTHING_TO_CITE),
    _never("messages[].content[]<*>", "only text, tool_use and tool_result blocks are supported"),
    _both("", "messages[].content[]<tool_use>.id", _PASSED),
    _both("", "messages[].content[]<tool_use>.name", _PASSED),
    _both("", "messages[].content[]<tool_use>.input", _PASSED),
    _cached("", "messages[].content[]<tool_use>.cache_control"),
    _both(
        "",
        "messages[].content[]<tool_use>.caller",
        _refused('only {"type": "direct"}: no code runs here that calls tools'),
        whole=True,
    ),
    _never("messages[].content[]<tool_use>.toolset_name", _NO_TOOLSETS),
    _both("", "messages[].content[]<tool_result>.tool_use_id", _PASSED),
    _cached("", "messages[].content[]<tool_result>.content[]<text>.cache_control"),
    _never("messages[].content[]<tool_result>.content[]<text>.citations", _NOTHING_TO_CITE),
    _never("messages[].content[]<tool_result>.content[]<*>", "only text blocks are supported"),
    _both("", "messages[].content[]<tool_result>.is_error", _translated("the model reads `Error: …`")),
    _cached("", "messages[].content[]<tool_result>.cache_control"),
    _never("messages[].content[]<tool_result>.toolset_name", _NO_TOOLSETS),
    _never("messages[].clear_at", _NO_THREADS),
    _never("messages[].output_config", "give it for the whole request"),
    _cached("cache_control", "cache_control"),
    Parameter(
        "thinking",
        "thinking",
        _refused("models of OpenAI's take reasoning_effort (on /v1/messages: output_config.effort)"),
        _passed("except together with tools; the answer is the text alone"),
        whole=True,
    ),
    Parameter("top_k", "top_k", _refused("models of OpenAI's have no such parameter: use top_p"), _PASSED),
    Parameter(
        "betas",
        "betas",
        _none("they concern Anthropic's API"),
        _passed("on /v1/messages, the header `anthropic-beta`"),
    ),
    _both("", "tools[]<custom>.eager_input_streaming", _none("a tool's input comes whole")),
    _never("tools[]<custom>.input_examples", "put examples into the description"),
    _both("", "tools[]<custom>.defer_loading", _refused("there is no tool search", {False: None})),
    _both(
        "", "tools[]<custom>.allowed_callers", _refused('only ["direct"]: no code runs here that calls tools')
    ),
    _never("tools[]<*>", "only custom tools are supported, which the client runs"),
    _never("output_config.task_budget", "use max_tokens"),
    _never("container", "no code runs here"),
    _never("context_management", _NO_THREADS),
    _never("compaction", _NO_THREADS),
    _never("diagnostics", "what was read from the cache is in the usage"),
    _never("inference_geo", "where models run is the operator's choice"),
    _never("mcp_servers", "offer their tools in tools, and call them yourself"),
    _both("", "speed", _refused("leave it out, or send standard", {"standard": None})),
    _never("billing_policy", "the operator pays"),
    _never("fallback_credit_token", _NO_FALLBACKS),
    _never("fallbacks", _NO_FALLBACKS),
    _never("thread", _NO_THREADS),
    _never("user_profile_id", "send metadata.user_id"),
    _never("workspace_id", "the workspace is the operator's"),
)

#: The rows by their path, of either API.
OPENAI_PATHS: Final = {row.openai_path: row for row in PARAMETERS if row.openai_path}
ANTHROPIC_PATHS: Final = {row.anthropic_path: row for row in PARAMETERS if row.anthropic_path}

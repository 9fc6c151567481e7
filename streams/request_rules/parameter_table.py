"""What becomes of every parameter of a chat request, at models of either API: the one table.

The checks at the door take their words from it, the providers' adapters what they pass on, and
`docs/http.md` its tables (`scripts/parameter_docs.py`). `tests/streams/request_rules/test_parameter_table.py`
fails for a parameter of the official SDKs that is not in it.

A path is as the API spells it: `[]` is any element of a list, `<text>` those of this `type`, `<*>` those of
every type without a row of its own.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple


class Effect(StrEnum):
    """What becomes of a parameter."""

    UNDERSTOOD = "understood"
    PASSED = "passed on"
    TRANSLATED = "translated"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


class Rule(NamedTuple):
    """What becomes of a parameter at models of one API.

    `note` completes the effect: of what is refused, what to do instead. `values` are those that are accepted
    nevertheless (of what is refused) or at all (of what is translated), and what they become.
    """

    effect: Effect
    note: str = ""
    values: Mapping[Any, object] | None = None


class Parameter(NamedTuple):
    """One row: the paths in a Chat Completions and in a Messages request, empty where that API has none.

    `whole`: what lies below the path is covered by this row.
    """

    openai_path: str
    anthropic_path: str
    to_openai: Rule
    to_anthropic: Rule
    whole: bool = False


_UNDERSTOOD = Rule(Effect.UNDERSTOOD)
_PASSED = Rule(Effect.PASSED)


def _refused(note: str) -> Rule:
    return Rule(Effect.REFUSED, note)


def _none(note: str) -> Rule:
    return Rule(Effect.NO_EFFECT, note)


def _both(openai: str, anthropic: str, rule: Rule = _UNDERSTOOD, *, whole: bool = False) -> Parameter:
    return Parameter(openai, anthropic, rule, rule, whole)


def _no(path: str, note: str) -> Parameter:
    """A parameter of OpenAI's API that is refused whatever the model."""
    return _both(path, "", _refused(note), whole=True)


def _never(path: str, note: str) -> Parameter:
    """A parameter of Anthropic's API that is refused whatever the model."""
    return _both("", path, _refused(note), whole=True)


_HASHED = Rule(Effect.TRANSLATED, "passed on as a hash: providers never learn who asks")
_NO_PENALTY = Rule(Effect.REFUSED, "Anthropic's models have no penalties; leave it out, or at 0", {0: None})
_EFFORTS: Final = {name: name for name in ("low", "medium", "high", "xhigh", "max")}
_ANTHROPIC_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_OPENAI_TIERS: Final = {name: name for name in ("auto", "default", "flex", "scale", "priority", "fast")} | {
    "standard_only": "default"
}
_OWN_CACHING = "OpenAI's models cache prompts by themselves"
_NO_HINT = "it hints at how OpenAI caches; use cache_control"

PARAMETERS: Final = (
    # What both APIs have.
    _both("model", "model"),
    _both("messages", "messages"),
    _both("messages[].role", "messages[].role"),
    _both("messages[].content", "messages[].content"),
    _both("messages[].content[]<text>", "messages[].content[]<text>"),
    _both("messages[].content[]<text>.type", "messages[].content[]<text>.type"),
    _both("messages[].content[]<text>.text", "messages[].content[]<text>.text"),
    Parameter(
        "messages[].content[]<text>.cache_control",
        "messages[].content[]<text>.cache_control",
        _none(_OWN_CACHING),
        _PASSED,
        whole=True,
    ),
    _both("max_completion_tokens", "max_tokens"),
    _both("max_tokens", ""),
    Parameter(
        "temperature", "temperature", _PASSED, Rule(Effect.TRANSLATED, "above 1 it becomes 1, their most")
    ),
    _both("top_p", "top_p", _PASSED),
    Parameter(
        "stop",
        "stop_sequences",
        _PASSED,
        Rule(Effect.PASSED, "as `stop_sequences`, which must not be white space alone"),
    ),
    _both("stream", "stream"),
    Parameter("tools", "tools", _PASSED, Rule(Effect.TRANSLATED, "into their form")),
    _both("tools[]<function>.type", "tools[]<custom>.type"),
    _both("tools[]<function>.function", ""),
    _both("tools[]<function>.function.name", "tools[]<custom>.name", _PASSED),
    _both("tools[]<function>.function.description", "tools[]<custom>.description", _PASSED),
    _both("tools[]<function>.function.parameters", "tools[]<custom>.input_schema", _PASSED, whole=True),
    _both("tools[]<function>.function.strict", "tools[]<custom>.strict", _PASSED),
    Parameter(
        "tools[]<function>.cache_control",
        "tools[]<custom>.cache_control",
        _none(_OWN_CACHING),
        _PASSED,
        whole=True,
    ),
    Parameter("tool_choice", "tool_choice", _PASSED, Rule(Effect.TRANSLATED, "into their form")),
    _both("tool_choice<function>", "tool_choice<tool>", whole=True),
    _both("", "tool_choice<auto>.type"),
    _both("", "tool_choice<any>.type"),
    _both("", "tool_choice<none>", whole=True),
    Parameter(
        "parallel_tool_calls",
        "tool_choice.disable_parallel_tool_use",
        _PASSED,
        Rule(Effect.TRANSLATED, "into `tool_choice.disable_parallel_tool_use`"),
    ),
    _both("", "tool_choice<auto>.disable_parallel_tool_use"),
    _both("", "tool_choice<any>.disable_parallel_tool_use"),
    Parameter(
        "response_format",
        "output_config.format",
        _PASSED,
        Rule(Effect.TRANSLATED, "into instructions; the answer is checked against the schema"),
        whole=True,
    ),
    _both("", "output_config"),
    Parameter(
        "reasoning_effort",
        "output_config.effort",
        _PASSED,
        Rule(Effect.TRANSLATED, "into `output_config.effort`; low, medium, high, xhigh or max", _EFFORTS),
    ),
    Parameter(
        "service_tier",
        "service_tier",
        Rule(Effect.TRANSLATED, "passed on; `standard_only` becomes `default`", _OPENAI_TIERS),
        Rule(
            Effect.TRANSLATED,
            "passed on; `default` becomes `standard_only`; others they have not: use auto or default",
            _ANTHROPIC_TIERS,
        ),
    ),
    _both("user", "metadata.user_id", _HASHED),
    _both("", "metadata"),
    # What OpenAI's API has.
    Parameter(
        "messages[].name",
        "",
        _PASSED,
        Rule(
            Effect.TRANSLATED,
            "said before the text: `Ann: …`; that of a tool's result has no effect beside its id",
        ),
    ),
    _both("messages[].tool_call_id", "", _PASSED),
    _both("messages[].tool_calls", ""),
    _both("messages[].tool_calls[]<function>", "", _PASSED, whole=True),
    _no("messages[].tool_calls[]<custom>", "custom tools are not there: use functions"),
    _both(
        "messages[].refusal",
        "",
        Rule(Effect.TRANSLATED, "the message's text where it has no content; beside content it is refused"),
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
    Parameter("logit_bias", "", _PASSED, _refused("Anthropic's models have no such parameter")),
    _both("logprobs", "", Rule(Effect.REFUSED, "answers come without log probabilities", {False: None})),
    _no("top_logprobs", "answers come without log probabilities"),
    Parameter(
        "metadata",
        "",
        Rule(Effect.PASSED, "where `store` is true, as OpenAI's API asks for"),
        _none("it labels what OpenAI stores"),
    ),
    _both("modalities", "", Rule(Effect.REFUSED, 'answers are text: leave it out, or send ["text"]')),
    _no("moderation", "the guardrails check input and output"),
    _both("n", "", Rule(Effect.REFUSED, "one request has one answer: n must be 1", {1: None})),
    Parameter("prediction", "", _PASSED, _none("it only makes OpenAI's models faster"), whole=True),
    Parameter("prompt_cache_key", "", _PASSED, _none(_NO_HINT)),
    Parameter("prompt_cache_options", "", _PASSED, _none(_NO_HINT), whole=True),
    Parameter("prompt_cache_retention", "", _PASSED, _none(_NO_HINT)),
    Parameter("safety_identifier", "", _HASHED, _none("the hash of `user` is passed on")),
    Parameter("seed", "", _PASSED, _none("they have none; it is best effort at OpenAI's models, too")),
    Parameter("store", "", _PASSED, _none("nothing is stored there for later use")),
    _both("stream_options", ""),
    _both("stream_options.include_usage", ""),
    _both(
        "stream_options.include_obfuscation",
        "",
        Rule(Effect.REFUSED, "streams are not padded: leave it out, or send false", {False: None}),
    ),
    _no("tool_choice<allowed_tools>", "send only the tools that are allowed"),
    _no("tool_choice<custom>", "custom tools are not there: use functions"),
    _no("tools[]<*>", "only functions are supported, which the client runs"),
    Parameter(
        "verbosity", "", _PASSED, _refused("Anthropic's models have no such parameter: say it in words")
    ),
    _no("web_search_options", "models do not search the web"),
    # What Anthropic's API has.
    _both("", "system"),
    _both("", "system[]<text>"),
    _both("", "system[]<text>.type"),
    _both("", "system[]<text>.text"),
    Parameter("", "system[]<text>.cache_control", _none(_OWN_CACHING), _PASSED, whole=True),
    _never("system[]<text>.citations", "documents are not supported, so that there is nothing to cite"),
    _never(
        "messages[].content[]<text>.citations",
        "documents are not supported, so that there is nothing to cite",
    ),
    _never("messages[].content[]<*>", "only text, tool_use and tool_result blocks are supported"),
    _both("", "messages[].content[]<tool_use>.type"),
    _both("", "messages[].content[]<tool_use>.id", _PASSED),
    _both("", "messages[].content[]<tool_use>.name", _PASSED),
    _both("", "messages[].content[]<tool_use>.input", _PASSED),
    Parameter("", "messages[].content[]<tool_use>.cache_control", _none(_OWN_CACHING), _PASSED, whole=True),
    _both(
        "",
        "messages[].content[]<tool_use>.caller",
        Rule(Effect.REFUSED, 'only {"type": "direct"}: no code runs here that calls tools'),
        whole=True,
    ),
    _never("messages[].content[]<tool_use>.toolset_name", "toolsets are not there: use custom tools"),
    _both("", "messages[].content[]<tool_result>.type"),
    _both("", "messages[].content[]<tool_result>.tool_use_id", _PASSED),
    _both("", "messages[].content[]<tool_result>.content"),
    _both("", "messages[].content[]<tool_result>.content[]<text>.type"),
    _both("", "messages[].content[]<tool_result>.content[]<text>.text"),
    Parameter(
        "",
        "messages[].content[]<tool_result>.content[]<text>.cache_control",
        _none(_OWN_CACHING),
        _PASSED,
        whole=True,
    ),
    _never(
        "messages[].content[]<tool_result>.content[]<text>.citations",
        "documents are not supported, so that there is nothing to cite",
    ),
    _never("messages[].content[]<tool_result>.content[]<*>", "only text blocks are supported"),
    _both(
        "",
        "messages[].content[]<tool_result>.is_error",
        Rule(Effect.TRANSLATED, "the model reads `Error: …`"),
    ),
    Parameter(
        "", "messages[].content[]<tool_result>.cache_control", _none(_OWN_CACHING), _PASSED, whole=True
    ),
    _never("messages[].content[]<tool_result>.toolset_name", "toolsets are not there: use custom tools"),
    _never("messages[].clear_at", "send the messages that the model is to see"),
    _never("messages[].output_config", "give it for the whole request"),
    Parameter("cache_control", "cache_control", _none(_OWN_CACHING), _PASSED, whole=True),
    Parameter(
        "thinking",
        "thinking",
        _refused("models of OpenAI's take reasoning_effort (on /v1/messages: output_config.effort)"),
        Rule(Effect.PASSED, "except together with tools; the answer is the text alone"),
        whole=True,
    ),
    Parameter(
        "top_k",
        "top_k",
        _refused("models of OpenAI's have no such parameter: use top_p"),
        _PASSED,
    ),
    Parameter(
        "betas",
        "betas",
        _none("they concern Anthropic's API"),
        Rule(Effect.PASSED, "on /v1/messages, the header `anthropic-beta`"),
    ),
    _both("", "tools[]<custom>.eager_input_streaming", _none("a tool's input comes whole")),
    _never("tools[]<custom>.input_examples", "put examples into the description"),
    _both(
        "", "tools[]<custom>.defer_loading", Rule(Effect.REFUSED, "there is no tool search", {False: None})
    ),
    _both(
        "",
        "tools[]<custom>.allowed_callers",
        Rule(Effect.REFUSED, 'only ["direct"]: no code runs here that calls tools'),
    ),
    _never("tools[]<*>", "only custom tools are supported, which the client runs"),
    _never("output_config.task_budget", "use max_tokens"),
    _never("container", "no code runs here"),
    _never("context_management", "send the messages that the model is to see"),
    _never("compaction", "send the messages that the model is to see"),
    _never("diagnostics", "what was read from the cache is in the usage"),
    _never("inference_geo", "where models run is the operator's choice"),
    _never("mcp_servers", "offer their tools in tools, and call them yourself"),
    _both("", "speed", Rule(Effect.REFUSED, "leave it out, or send standard", {"standard": None})),
    _never("billing_policy", "the operator pays"),
    _never(
        "fallback_credit_token", "which models stand in is the operator's choice (HEADRACE_FALLBACK_MODELS)"
    ),
    _never("fallbacks", "which models stand in is the operator's choice (HEADRACE_FALLBACK_MODELS)"),
    _never("thread", "send the messages that the model is to see"),
    _never("user_profile_id", "send metadata.user_id"),
    _never("workspace_id", "the workspace is the operator's"),
)

#: The rows by their path, of either API.
OPENAI_PATHS: Final = {row.openai_path: row for row in PARAMETERS if row.openai_path}
ANTHROPIC_PATHS: Final = {row.anthropic_path: row for row in PARAMETERS if row.anthropic_path}

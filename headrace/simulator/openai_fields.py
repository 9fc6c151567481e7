"""The fields of a Chat Completions request, as the OpenAI API documents them."""

from collections.abc import Mapping
from typing import Any

from headrace.simulator import shapes
from headrace.simulator.shapes import Misfit, Path

_MAX_STOPS = 4
_MAX_METADATA = 16


def _metadata(value: Any, path: Path) -> None:
    shapes.mapping(value, path)
    if len(value) > _MAX_METADATA:
        raise Misfit(path, "long", expected=str(_MAX_METADATA), got=str(len(value)))
    for key, entry in value.items():
        shapes.text(512)(entry, (*path, key))


_function = shapes.record(
    {
        "name": shapes.named(64),
        "description": shapes.text(),
        "parameters": shapes.mapping,
        "strict": shapes.boolean,
    },
    required=("name",),
)
_tool = shapes.record(
    {"type": shapes.choice("function"), "function": _function}, required=("type", "function")
)
_chosen = shapes.record(
    {
        "type": shapes.choice("function"),
        "function": shapes.record({"name": shapes.text()}, required=("name",)),
    },
    required=("type", "function"),
)
_json_schema = shapes.record(
    {
        "name": shapes.named(64),
        "description": shapes.text(),
        "schema": shapes.mapping,
        "strict": shapes.boolean,
    },
    required=("name",),
)
_stop = shapes.text(empty=False)

_FIELDS: Mapping[str, shapes.Check] = {
    "model": shapes.text(),
    "messages": shapes.array(shapes.mapping, low=1),
    "audio": shapes.mapping,
    "frequency_penalty": shapes.number(-2, 2),
    "logit_bias": shapes.mapping,
    "logprobs": shapes.boolean,
    "max_completion_tokens": shapes.integer(1),
    "max_tokens": shapes.integer(1),
    "metadata": _metadata,
    "modalities": shapes.array(shapes.choice("text", "audio")),
    "moderation": shapes.mapping,
    "n": shapes.integer(1, 128),
    "parallel_tool_calls": shapes.boolean,
    "prediction": shapes.mapping,
    "presence_penalty": shapes.number(-2, 2),
    "prompt_cache_key": shapes.text(),
    "prompt_cache_options": shapes.mapping,
    "prompt_cache_retention": shapes.choice("in_memory", "24h"),
    "reasoning_effort": shapes.text(),
    "response_format": shapes.record(
        {"type": shapes.choice("json_object", "json_schema", "text"), "json_schema": _json_schema},
        required=("type",),
    ),
    "safety_identifier": shapes.text(),
    "seed": shapes.integer(-(2**63), 2**63 - 1),
    "service_tier": shapes.choice("auto", "default", "flex", "scale", "priority", "fast"),
    "stop": shapes.either(
        "a string or an array", str=_stop, list=shapes.array(_stop, low=1, high=_MAX_STOPS)
    ),
    "store": shapes.boolean,
    "stream": shapes.boolean,
    "stream_options": shapes.record({"include_usage": shapes.boolean, "include_obfuscation": shapes.boolean}),
    "temperature": shapes.number(0, 2),
    "tool_choice": shapes.either(
        "a string or an object", str=shapes.choice("none", "auto", "required"), dict=_chosen
    ),
    "tools": shapes.array(_tool, low=1, high=128),
    "top_logprobs": shapes.integer(0, 20),
    "top_p": shapes.number(0, 1),
    "user": shapes.text(),
    "verbosity": shapes.choice("low", "medium", "high"),
    "web_search_options": shapes.mapping,
    # Deprecated but still documented; refused below, because nothing here needs them.
    "function_call": shapes.anything,
    "functions": shapes.anything,
}
check_fields = shapes.record(_FIELDS, required=("messages",))

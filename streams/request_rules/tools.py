"""The rules of tools, tool calls, and the format of the answer."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from streams.errors import InvalidRequest
from streams.request_rules.bounds import check_at_most, check_name
from streams.request_rules.decode_faults import unsupported
from streams.request_rules.parameter_table import OPENAI_PATHS

MAX_TOOLS = 128
MAX_TOOL_CALLS = 128

_TOOL_CHOICES = ("none", "auto", "required")
_RESPONSE_FORMATS = ("text", "json_object", "json_schema")
_REASONS = {path: row.to_openai.note for path, row in OPENAI_PATHS.items()}


def check_tool_calls(calls: Sequence[dict[str, Any]], where: str) -> None:
    """Raise `InvalidRequest` where a message has too many calls, or one that is not of a function."""
    check_at_most(len(calls), MAX_TOOL_CALLS, where)
    for index, call in enumerate(calls):
        if call.get("type", "function") != "function":
            raise unsupported(f"{where}[{index}]", _REASONS["messages[].tool_calls[]<custom>"])
        if isinstance(call.get("id"), str):
            check_name(call["id"], f"{where}[{index}].id")


def check_tools(tools: Sequence[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> None:
    """Raise `InvalidRequest` for the first thing that is wrong with the tools or the tool choice."""
    check_at_most(len(tools or ()), MAX_TOOLS, "tools")
    for index, tool in enumerate(tools or ()):
        _check_tool(tool, f"tools[{index}]")
    if isinstance(choice, str) and choice not in _TOOL_CHOICES:
        raise InvalidRequest(
            f"tool_choice must be one of {', '.join(_TOOL_CHOICES)}, or a tool", param="tool_choice"
        )
    if isinstance(choice, dict) and (kind := choice.get("type")) != "function":
        other = "it must be none, auto, required, or a function"
        raise unsupported("tool_choice", _REASONS.get(f"tool_choice<{kind}>", other))
    if choice not in (None, "none", "auto") and not tools:
        raise InvalidRequest("tool_choice needs tools", param="tool_choice")


def check_response_format(wanted: dict[str, Any] | None) -> None:
    """Raise `InvalidRequest` for an unknown format; its JSON Schema is checked by the guardrail."""
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in _RESPONSE_FORMATS:
        raise _wrong_format("response_format.type", f"must be one of {', '.join(_RESPONSE_FORMATS)}")
    described = wanted.get("json_schema")
    if kind == "json_schema" and not (
        isinstance(described, dict) and isinstance(described.get("schema"), dict)
    ):
        raise _wrong_format("response_format.json_schema.schema", "is required, as a JSON Schema object")


def _check_tool(tool: dict[str, Any], where: str) -> None:
    if tool.get("type") != "function":
        raise unsupported(f"{where}.type", _REASONS["tools[]<*>"])
    _check_fields(tool, ("type", "function", "cache_control"), where)
    function = tool.get("function")
    named: Mapping[str, Any] = function if isinstance(function, dict) else {}
    _check_fields(named, ("name", "description", "parameters", "strict"), f"{where}.function")
    name = named.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where}.function.name is required", param=f"{where}.function.name")


def _check_fields(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise InvalidRequest(
                f"unknown field {name[:128]!r}: it is not known here",
                code="unknown_parameter",
                param=f"{where}.{name[:128]}",
            )


def _wrong_format(where: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{where} {what}", code="invalid_response_format", param=where)

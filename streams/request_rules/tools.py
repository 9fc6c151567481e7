"""What senders may say of tools, and of the form of the answer."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from streams.errors import InvalidRequest
from streams.request_rules.bounds import check_at_most, check_name
from streams.request_rules.decode_faults import UNSUPPORTED, table_of

MAX_TOOLS = 128
MAX_TOOL_CALLS = 128

_TOOL_CHOICES = ("none", "auto", "required")
_RESPONSE_FORMATS = ("text", "json_object", "json_schema")
_REASONS = {path: row.to_openai.note for path, row in table_of().items()}


def check_tool_calls(calls: Sequence[dict[str, Any]], where: str) -> None:
    """Check the calls of a message.

    Raises:
        InvalidRequest: there are too many, or one is not of a function.
    """
    check_at_most(len(calls), MAX_TOOL_CALLS, where)
    for index, call in enumerate(calls):
        _check_tool_call(call, f"{where}[{index}]")


def check_tools(tools: Sequence[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> None:
    """Check the tools of a request, and which of them may or must be called.

    Raises:
        InvalidRequest: the first thing found wrong.
    """
    check_at_most(len(tools or ()), MAX_TOOLS, "tools")
    for index, tool in enumerate(tools or ()):
        _check_tool(tool, f"tools[{index}]")
    if isinstance(choice, str) and choice not in _TOOL_CHOICES:
        raise InvalidRequest(
            f"tool_choice must be one of {', '.join(_TOOL_CHOICES)}, or a tool", param="tool_choice"
        )
    _check_choice(choice)
    if choice not in (None, "none", "auto") and not tools:
        raise InvalidRequest("tool_choice needs tools", param="tool_choice")


def _check_tool(tool: dict[str, Any], where: str) -> None:
    if tool.get("type") != "function":
        raise InvalidRequest(
            f"{where}.type is not supported: {_REASONS['tools[]<*>']}",
            code=UNSUPPORTED,
            param=f"{where}.type",
        )
    _only(tool, ("type", "function", "cache_control"), where)
    function = tool.get("function")
    if isinstance(function, dict):
        _only(function, ("name", "description", "parameters", "strict"), f"{where}.function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where}.function.name is required", param=f"{where}.function.name")


def _check_tool_call(call: dict[str, Any], where: str) -> None:
    if call.get("type", "function") != "function":
        why = _REASONS["messages[].tool_calls[]<custom>"]
        raise InvalidRequest(f"{where} is not supported: {why}", code=UNSUPPORTED, param=where)
    if isinstance(call.get("id"), str):
        check_name(call["id"], f"{where}.id")


def _check_choice(choice: str | dict[str, Any] | None) -> None:
    if not isinstance(choice, dict) or choice.get("type") == "function":
        return
    why = _REASONS.get(f"tool_choice<{choice.get('type')}>", "it must be none, auto, required, or a function")
    raise InvalidRequest(f"tool_choice is not supported: {why}", code=UNSUPPORTED, param="tool_choice")


def _only(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise InvalidRequest(
                f"unknown field {name[:128]!r}: it is not known here",
                code="unknown_parameter",
                param=f"{where}.{name[:128]}",
            )


def check_response_format(wanted: dict[str, Any] | None) -> None:
    """Check the form that the answer is to have; its JSON Schema is the guardrail's business.

    Raises:
        InvalidRequest: there is no such form.
    """
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in _RESPONSE_FORMATS:
        raise InvalidRequest(
            f"response_format.type must be one of {', '.join(_RESPONSE_FORMATS)}",
            code="invalid_response_format",
            param="response_format.type",
        )
    described = wanted.get("json_schema")
    if kind == "json_schema" and not (
        isinstance(described, dict) and isinstance(described.get("schema"), dict)
    ):
        raise InvalidRequest(
            "response_format.json_schema.schema is required, as a JSON Schema object",
            code="invalid_response_format",
            param="response_format.json_schema.schema",
        )

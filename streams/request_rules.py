"""What senders may send: the limits of a request, checked once, at the door.

HTTP and Kafka have the same door: ingest checks a body before it accepts it, the guardrail checks a record
before it works on it. Behind the door a text may grow, by what stands for personal data and by the template
around it. So the events of the pipeline have no limits of their own but a record's size (`streams.sizes`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from streams.cache_directives import cache_directives
from streams.errors import InvalidRequest
from streams.events import ChatRequested, Message
from streams.models import MODELS

MAX_MESSAGES = 100
#: Of a query, of a variable's value, and of a message, all its parts together.
MAX_CONTENT_CHARS = 32_000
MAX_STOP_SEQUENCES = 4
MAX_STOP_CHARS = 256
MAX_TOOLS = 128
MAX_TOOL_CALLS = 128
MAX_METADATA_ENTRIES = 16
MAX_VARIABLES = 100
MAX_NAME_CHARS = 256
#: Whoever reads a record downstream need not follow more levels of lists and objects.
MAX_JSON_DEPTH = 64

_TOOL_CHOICES = ("none", "auto", "required")
_RESPONSE_FORMATS = ("text", "json_object", "json_schema")
_FREE_FORM = ("metadata", "tools", "tool_choice", "response_format")


def check_chat(request: ChatRequested, *, max_tokens_per_request: int) -> None:
    """Check a request before it is worked on.

    What depends on the rendered prompt, e.g. its number of tokens, is the guardrail's business.

    Raises:
        InvalidRequest: the first thing found wrong, with the field and what it must be.
    """
    _check_model(request.model)
    _check_max_tokens(request.max_tokens, max_tokens_per_request)
    check_depth(request)
    check_text(request.query or "", "query")
    _check_variables(request.variables or {})
    messages = request.messages or ()
    _at_most(len(messages), MAX_MESSAGES, "messages", "messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    _check_stop(request.stop or ())
    _check_tools(request.tools, request.tool_choice)
    _check_response_format(request.response_format)
    _at_most(len(request.metadata or {}), MAX_METADATA_ENTRIES, "metadata", "entries")
    cache_directives(request.headrace_cache)


def check_depth(request: object) -> None:
    """Check how deep lists and objects are nested where a sender may send any JSON.

    Raises:
        InvalidRequest: deeper than `MAX_JSON_DEPTH`.
    """
    fields = {name: getattr(request, name, None) for name in _FREE_FORM}
    for index, message in enumerate(getattr(request, "messages", None) or ()):
        fields[f"messages[{index}].tool_calls"] = message.tool_calls
    for name, value in fields.items():
        if depth_exceeds(value, MAX_JSON_DEPTH):
            raise InvalidRequest(
                f"{name} is nested deeper than {MAX_JSON_DEPTH} levels", code="invalid_json", param=name
            )


def check_text(text: str, where: str) -> None:
    """Check the length of a text.

    Raises:
        InvalidRequest: it is longer than `MAX_CONTENT_CHARS`.
    """
    if len(text) > MAX_CONTENT_CHARS:
        raise InvalidRequest(
            f"{where} has {len(text)} characters; at most {MAX_CONTENT_CHARS} are allowed", param=where
        )


def depth_exceeds(value: Any, limit: int) -> bool:
    """Whether lists and objects in `value` are nested deeper than `limit`; without recursion."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list | tuple)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _at_most(count: int, most: int, field: str, what: str) -> None:
    if count > most:
        raise InvalidRequest(f"{field} must have at most {most} {what}, not {count}", param=field)


def _check_name(name: str | None, where: str) -> None:
    if name is not None and len(name) > MAX_NAME_CHARS:
        raise InvalidRequest(
            f"{where} has {len(name)} characters; at most {MAX_NAME_CHARS} are allowed", param=where
        )


def _check_model(model: str | None) -> None:
    if model is not None and model not in MODELS:
        raise InvalidRequest(
            f"the model {model!r} does not exist; known models: {', '.join(sorted(MODELS))}",
            code="model_not_found",
            param="model",
        )


def _check_max_tokens(max_tokens: int | None, limit: int) -> None:
    if max_tokens is not None and not 1 <= max_tokens <= limit:
        raise InvalidRequest(
            f"max_tokens must be from 1 to {limit}, not {max_tokens}",
            code="invalid_value",
            param="max_tokens",
        )


def _check_variables(variables: Mapping[str, str]) -> None:
    _at_most(len(variables), MAX_VARIABLES, "variables", "entries")
    for name, text in variables.items():
        _check_name(name, "the name of a variable")
        check_text(text, f"variables.{name}")


def _check_message(message: Message, where: str) -> None:
    if message.content is None and not (message.role == "assistant" and message.tool_calls):
        raise InvalidRequest(
            f"{where}.content must be text, or a list of text parts", param=f"{where}.content"
        )
    check_text(message.text, f"{where}.content")
    _check_name(message.name, f"{where}.name")
    _check_name(message.tool_call_id, f"{where}.tool_call_id")
    _at_most(len(message.tool_calls or ()), MAX_TOOL_CALLS, f"{where}.tool_calls", "entries")
    if message.role == "tool" and not message.tool_call_id:
        raise InvalidRequest(
            f"{where}.tool_call_id is required for the role tool", param=f"{where}.tool_call_id"
        )


def _check_stop(stop: Sequence[str]) -> None:
    _at_most(len(stop), MAX_STOP_SEQUENCES, "stop", "sequences")
    for index, sequence in enumerate(stop):
        if not 1 <= len(sequence) <= MAX_STOP_CHARS:
            raise InvalidRequest(
                f"stop[{index}] must have 1 to {MAX_STOP_CHARS} characters, not {len(sequence)}",
                param=f"stop[{index}]",
            )


def _check_tools(tools: Sequence[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> None:
    _at_most(len(tools or ()), MAX_TOOLS, "tools", "entries")
    for index, tool in enumerate(tools or ()):
        _check_tool(tool, f"tools[{index}]")
    if isinstance(choice, str) and choice not in _TOOL_CHOICES:
        raise InvalidRequest(
            f"tool_choice must be one of {', '.join(_TOOL_CHOICES)}, or a tool", param="tool_choice"
        )
    if choice not in (None, "none", "auto") and not tools:
        raise InvalidRequest("tool_choice needs tools", param="tool_choice")


def _check_tool(tool: dict[str, Any], where: str) -> None:
    if tool.get("type") != "function":
        raise InvalidRequest(f'{where}.type must be "function"', param=f"{where}.type")
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where}.function.name is required", param=f"{where}.function.name")


def _check_response_format(wanted: dict[str, Any] | None) -> None:
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in _RESPONSE_FORMATS:
        raise InvalidRequest(
            f"response_format.type must be one of {', '.join(_RESPONSE_FORMATS)}",
            param="response_format.type",
        )
    described = wanted.get("json_schema")
    if kind == "json_schema" and not (
        isinstance(described, dict) and isinstance(described.get("schema"), dict)
    ):
        raise InvalidRequest(
            "response_format.json_schema.schema is required, as a JSON Schema object",
            param="response_format.json_schema.schema",
        )

"""What a well-formed request must keep beyond its types, whichever route it came by."""

from collections.abc import Sequence
from typing import Any

from ingest.body import MAX_JSON_DEPTH, depth_exceeds, too_deep
from ingest.errors import invalid, not_found
from ingest.schemas import MAX_STOP_SEQUENCES
from streams.events import MAX_CONTENT_CHARS, ChatRequested, Message
from streams.models import MODELS

_MAX_TOOLS = 128
_MAX_METADATA_ENTRIES = 16
_TOOL_CHOICES = ("none", "auto", "required")
_RESPONSE_FORMATS = ("text", "json_object", "json_schema")
_FREE_FORM = ("metadata", "tools", "tool_choice", "response_format")


def check_request(request: ChatRequested, *, max_tokens_per_request: int) -> None:
    """Check a request before it is accepted.

    What depends on the rendered prompt, e.g. its number of tokens, is the guardrail's business.

    Raises:
        ApiError: 400 (404 for an unknown model), with the field and what it must be.
    """
    _check_model(request.model)
    _check_max_tokens(request.max_tokens, max_tokens_per_request)
    for name in _FREE_FORM:
        if depth_exceeds(getattr(request, name), MAX_JSON_DEPTH):
            raise too_deep(name)
    for index, message in enumerate(request.messages or ()):
        _check_message(message, f"messages[{index}]")
    _check_stop(request.stop)
    _check_tools(request.tools, request.tool_choice)
    _check_response_format(request.response_format)
    if request.metadata is not None and len(request.metadata) > _MAX_METADATA_ENTRIES:
        raise invalid(f"metadata must have at most {_MAX_METADATA_ENTRIES} entries", param="metadata")


def _check_model(model: str | None) -> None:
    if model is not None and model not in MODELS:
        raise not_found(
            f"the model {model!r} does not exist; known models: {', '.join(sorted(MODELS))}",
            code="model_not_found",
            param="model",
        )


def _check_max_tokens(max_tokens: int | None, limit: int) -> None:
    if max_tokens is not None and not 1 <= max_tokens <= limit:
        raise invalid(f"max_tokens must be from 1 to {limit}, not {max_tokens}", param="max_tokens")


def _check_message(message: Message, where: str) -> None:
    if message.content is None and not (message.role == "assistant" and message.tool_calls):
        raise invalid(f"{where}.content must be text, or a list of text parts", param=f"{where}.content")
    if len(message.text) > MAX_CONTENT_CHARS:
        raise invalid(
            f"{where}.content has {len(message.text)} characters; at most {MAX_CONTENT_CHARS} are allowed",
            param=f"{where}.content",
        )
    if message.role == "tool" and not message.tool_call_id:
        raise invalid(f"{where}.tool_call_id is required for the role tool", param=f"{where}.tool_call_id")
    if depth_exceeds(message.tool_calls, MAX_JSON_DEPTH):
        raise too_deep(f"{where}.tool_calls")


def _check_stop(stop: Sequence[str] | None) -> None:
    if stop is not None and len(stop) > MAX_STOP_SEQUENCES:
        raise invalid(f"stop must have at most {MAX_STOP_SEQUENCES} sequences", param="stop")


def _check_tools(tools: Sequence[dict[str, Any]] | None, choice: str | dict[str, Any] | None) -> None:
    if tools is not None and len(tools) > _MAX_TOOLS:
        raise invalid(f"tools must have at most {_MAX_TOOLS} entries", param="tools")
    for index, tool in enumerate(tools or ()):
        _check_tool(tool, f"tools[{index}]")
    if isinstance(choice, str) and choice not in _TOOL_CHOICES:
        raise invalid(
            f"tool_choice must be one of {', '.join(_TOOL_CHOICES)}, or a tool", param="tool_choice"
        )
    if choice not in (None, "none", "auto") and not tools:
        raise invalid("tool_choice needs tools", param="tool_choice")


def _check_tool(tool: dict[str, Any], where: str) -> None:
    if tool.get("type") != "function":
        raise invalid(f'{where}.type must be "function"', param=f"{where}.type")
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise invalid(f"{where}.function.name is required", param=f"{where}.function.name")


def _check_response_format(wanted: dict[str, Any] | None) -> None:
    if wanted is None:
        return
    kind = wanted.get("type")
    if kind not in _RESPONSE_FORMATS:
        raise invalid(
            f"response_format.type must be one of {', '.join(_RESPONSE_FORMATS)}",
            param="response_format.type",
        )
    described = wanted.get("json_schema")
    if kind == "json_schema" and not (
        isinstance(described, dict) and isinstance(described.get("schema"), dict)
    ):
        raise invalid(
            "response_format.json_schema.schema is required, as a JSON Schema object",
            param="response_format.json_schema.schema",
        )

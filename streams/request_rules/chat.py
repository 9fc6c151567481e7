"""The rules of a chat request: ingest checks a body by them, the guardrail checks a record by them.

Behind these two checks a text may grow: placeholders replace personal data, a template surrounds it. So the
events of the pipeline have no limits of their own but the size of a record (`streams.topics`).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from streams.control.catalogue import ModelCatalogue
from streams.errors import InvalidRequest
from streams.events import ChatRequested, Message, Requested
from streams.model_catalogue import Model
from streams.request_rules.cache_directives import cache_directives
from streams.request_rules.faults import (
    ANY_FIELD,
    MAX_NAME_CHARS,
    UNSUPPORTED,
    check_at_most,
    check_name,
    explain,
    unsupported,
)
from streams.request_rules.parameter_table import OPENAI_PATHS
from streams.request_rules.parameters import (
    MAX_EXTRA_CHARS,
    UNKNOWN_HINT,
    Parameters,
    unsupported_parameter,
)

MAX_MESSAGES = 100
#: Of a query, of a variable's value, and of a message, all its parts together.
MAX_CONTENT_CHARS = 32_000
MAX_STOP_SEQUENCES = 4
MAX_STOP_CHARS = 256
MAX_METADATA_ENTRIES = 16
MAX_VARIABLES = 100
MAX_TOOLS = MAX_TOOL_CALLS = 128
#: Readers of a record downstream need not follow more levels of lists and objects.
MAX_JSON_DEPTH = 64

#: The range of times that a clock may be wrong by: what is stored must fit the tables.
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
MAX_AHEAD = timedelta(days=1)

_FREE_FORM = ("metadata", "tools", "tool_choice", "response_format", "params")
_IDS = ("user_id", "session_id", "tenant", "tier")
_TOOL_CHOICES = ("none", "auto", "required")
_RESPONSE_FORMATS = ("text", "json_object", "json_schema")
_REASONS = {path: row.to_openai.note for path, row in OPENAI_PATHS.items()}


def check_chat(
    request: ChatRequested,
    catalogue: ModelCatalogue,
    *,
    max_tokens_per_request: int,
    extra_parameters: Collection[str] = (),
) -> Model | None:
    """Check a request before it is worked on; return the model that it names, if it names one.

    Raises `InvalidRequest` for the first broken rule, with its field.

    Rules of the rendered prompt are the guardrail's own. `extra_parameters` are the names that the operator
    lets through to models behind OpenAI's API.
    """
    model = _named_model(request.model, catalogue)
    check_ids(request)
    _check_query_or_messages(request)
    _check_max_tokens(request.max_tokens, max_tokens_per_request)
    check_depth(request)
    _check_text(request.query or "", "query")
    _check_variables(request.variables or {})
    _check_messages(request.messages or ())
    _check_stop(request.stop or ())
    check_tools(request.tools, request.tool_choice)
    check_response_format(request.response_format)
    check_at_most(len(request.metadata or {}), MAX_METADATA_ENTRIES, "metadata", " entries")
    cache_directives(request.headrace_cache)
    _check_params(request.params or {}, extra_parameters)
    if model is not None and (kept := unsupported_parameter(request, model.protocol)):
        raise not_supported(kept.param, kept.why, model.name)
    return model


def unknown_model(name: str, catalogue: ModelCatalogue) -> InvalidRequest:
    """Return the fault of a request for a model that does not exist, or cannot chat."""
    return InvalidRequest(
        f"the model {name!r} does not exist; known models: {', '.join(sorted(catalogue.chat))}",
        code="model_not_found",
        param="model",
    )


def not_supported(param: str, why: str, model: str) -> InvalidRequest:
    """Return the fault of a request with a parameter that its model does not support."""
    return InvalidRequest(f"{param} is not supported for {model}: {why}", code=UNSUPPORTED, param=param)


def check_ids(request: Requested) -> None:
    """Raise `InvalidRequest` where a name of the sender is too long or has a control character."""
    for name in _IDS:
        check_name(getattr(request, name), name)


def check_moment(at: datetime, where: str, *, now: datetime) -> None:
    """Raise `InvalidRequest` where a time is before `EARLIEST`, or more than `MAX_AHEAD` after `now`."""
    if not EARLIEST <= at <= now + MAX_AHEAD:
        raise InvalidRequest(
            f"{where} must be from {EARLIEST:%Y-%m-%d} to at most a day from now, got {at.isoformat()}",
            code="invalid_value",
            param=where,
        )


def check_depth(request: object) -> None:
    """Raise `InvalidRequest` where a field of free-form JSON is nested deeper than `MAX_JSON_DEPTH`."""
    fields = {name: getattr(request, name, None) for name in _FREE_FORM}
    for index, message in enumerate(getattr(request, "messages", None) or ()):
        fields[f"messages[{index}].tool_calls"] = message.tool_calls
    for name, value in fields.items():
        if depth_exceeds(value, MAX_JSON_DEPTH):
            raise InvalidRequest(
                f"{name} is nested deeper than {MAX_JSON_DEPTH} levels", code="invalid_json", param=name
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


def _named_model(name: str | None, catalogue: ModelCatalogue) -> Model | None:
    if name is None:
        return None
    if (model := catalogue.chat_model(name)) is None:
        raise unknown_model(name, catalogue)
    return model


def _check_query_or_messages(request: ChatRequested) -> None:
    if request.messages is None:
        if not (request.query or "").strip():
            raise InvalidRequest(
                "query is required: what to answer, as text; or give messages",
                code="missing_required_parameter",
                param="query",
            )
    elif request.query is not None:
        raise InvalidRequest("give either query or messages, not both", param="query")
    elif request.template or request.variables:
        raise InvalidRequest("a template goes with query, not with messages", param="template")
    elif not request.messages:
        raise InvalidRequest("messages: at least 1 are required, got 0", param="messages")


def _check_max_tokens(max_tokens: int | None, limit: int) -> None:
    if max_tokens is not None and not 1 <= max_tokens <= limit:
        bound = "at least 1" if max_tokens < 1 else f"at most {limit}"
        raise InvalidRequest(
            f"max_tokens: must be {bound}, got {max_tokens}", code="invalid_value", param="max_tokens"
        )


def _check_text(text: str, where: str) -> None:
    check_at_most(len(text), MAX_CONTENT_CHARS, where, " characters")


def _check_variables(variables: Mapping[str, str]) -> None:
    check_at_most(len(variables), MAX_VARIABLES, "variables", " entries")
    for name, text in variables.items():
        check_at_most(len(name), MAX_NAME_CHARS, "the name of a variable", " characters")
        _check_text(text, f"variables.{name}")


def _check_messages(messages: Sequence[Message]) -> None:
    check_at_most(len(messages), MAX_MESSAGES, "messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    if messages and not any(message.text.strip() or message.tool_calls for message in messages):
        raise InvalidRequest("messages: at least one must have a text", param="messages")


def _check_message(message: Message, where: str) -> None:
    if message.content is None and not (message.role == "assistant" and message.tool_calls):
        raise InvalidRequest(
            f"{where}.content must be text, or a list of text parts", param=f"{where}.content"
        )
    _check_text(message.text, f"{where}.content")
    check_name(message.name, f"{where}.name")
    check_name(message.tool_call_id, f"{where}.tool_call_id")
    check_tool_calls(message.tool_calls or (), f"{where}.tool_calls")
    if message.role == "tool" and not message.tool_call_id:
        raise InvalidRequest(
            f"{where}.tool_call_id is required for the role tool", param=f"{where}.tool_call_id"
        )


def _check_stop(stop: Sequence[str]) -> None:
    check_at_most(len(stop), MAX_STOP_SEQUENCES, "stop")
    for index, sequence in enumerate(stop):
        where = f"stop[{index}]"
        check_at_most(len(sequence), MAX_STOP_CHARS, where, " characters")
        if not sequence:
            raise InvalidRequest(f"{where}: at least 1 characters are required, got 0", param=where)


def _check_params(params: Mapping[str, Any], extra: Collection[str]) -> None:
    """Check the parameters for the models' own APIs; faults name them without the `params` around them."""
    known = {name: value for name, value in params.items() if name not in extra}
    try:
        msgspec.convert(known, Parameters)
    except msgspec.ValidationError as fault:
        raise explain(fault, known, Parameters, hints={ANY_FIELD: UNKNOWN_HINT}) from None
    if let_through := {name: value for name, value in params.items() if name in extra}:
        check_at_most(len(json.dumps(let_through)), MAX_EXTRA_CHARS, "params", " characters")


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

"""Reads a Chat Completions request as strictly as the OpenAI API does.

The SDK's own types say what the endpoints take; the limits here are those that the types do not say.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import msgspec

from headrace.simulator import chat_task
from headrace.simulator.invoice import charge_usd
from headrace.simulator.request_validation import Limits, RequestType, load_types, wrong_field
from headrace.simulator.schema_values import check_schema
from streams.model_catalogue import ProviderProtocol, count_messages

_UNSUPPORTED = ("audio", "functions", "function_call", "logprobs", "top_logprobs", "web_search_options")
_IDENTITY = ("model", "messages", "tools", "tool_choice", "response_format", "seed")
_NOT_COVERED = "the simulator does not support this"
_MAX_STOPS = 4
_MAX_NAME_CHARS = 64
_LIMITS: Limits = {
    "frequency_penalty": {"ge": -2.0, "le": 2.0},
    "max_completion_tokens": {"ge": 1},
    "max_tokens": {"ge": 1},
    "messages": {"min_length": 1},
    "metadata": {"max_length": 16},
    "presence_penalty": {"ge": -2.0, "le": 2.0},
    "temperature": {"ge": 0.0, "le": 2.0},
    "tools": {"min_length": 1, "max_length": 128},
    "top_p": {"ge": 0.0, "le": 1.0},
}


def _load_types() -> tuple[RequestType, RequestType]:
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase  # noqa: PLC0415
    from openai.types.embedding_create_params import EmbeddingCreateParams  # noqa: PLC0415

    class ChatCompletionBody(CompletionCreateParamsBase, total=False):
        stream: bool | None

    embeddings = RequestType(EmbeddingCreateParams, {"dimensions": {"ge": 1}})
    return RequestType(ChatCompletionBody, _LIMITS), embeddings


_PACKAGES = (
    "openai",
    "openai.types",
    "openai.types.chat",
    "openai.types.shared",
    "openai.types.shared_params",
)
CHAT_COMPLETION, EMBEDDINGS = load_types(_load_types, *_PACKAGES)


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Check that assistants say something, and that tool calls and tool messages belong together."""
    waiting: list[str] = []
    asked_at = 0
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                reason = "a tool message must respond to a 'tool_calls' of the assistant message before it"
                raise wrong_field(f"messages.[{index}].role", reason)
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            break
        if message["role"] == "assistant":
            waiting, asked_at = [call["id"] for call in message.get("tool_calls") or ()], index
            if not waiting and message.get("content") is None and message.get("refusal") is None:
                raise wrong_field(f"messages[{index}].content", "must be a string")
    if waiting:
        reason = f"tool messages must follow for each 'tool_call_id'; there are none for {', '.join(waiting)}"
        raise wrong_field(f"messages.[{asked_at + 1}].role", reason)


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def read_chat_request(body: Any) -> chat_task.ChatTask:
    """Turn a decoded body into a task."""
    CHAT_COMPLETION.check(body)
    model = chat_task.served_model(ProviderProtocol.OPENAI, body["model"])
    _refuse_unsupported(body)
    messages: list[dict[str, Any]] = body["messages"]
    _check_messages(messages)
    tool_use = _tool_use(body)
    texts = [_text_of(message) for message in messages]
    input_tokens = count_messages(messages) + chat_task.count_tools(body.get("tools"))
    wanted = _wanted_tokens(body)
    chat_task.check_lengths(model, input_tokens, wanted)
    roles = [message["role"] for message in messages]
    users = [text for role, text in zip(roles, texts, strict=True) if role == "user"]
    results = sum(1 for _ in takewhile("tool".__eq__, reversed(roles)))
    return chat_task.ChatTask(
        model=model.name,
        charge_usd=partial(charge_usd, model),
        prompt="\n".join(texts),
        question=users[-1] if users else texts[-1],
        tool_results=tuple(texts[len(texts) - results :]),
        identity=msgspec.json.encode([body.get(name) for name in _IDENTITY]),
        tool_use=tool_use,
        form=_output_form(body, texts),
        stop=_stops(body.get("stop")),
        max_output_tokens=min(wanted or model.max_output_tokens, model.context_window_tokens - input_tokens),
        input_tokens=input_tokens,
        stream=bool(body.get("stream")),
        include_usage=_include_usage(body),
    )


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    for name in _UNSUPPORTED:
        if body.get(name):
            raise wrong_field(name, _NOT_COVERED)
    if body.get("n", 1) not in (1, None):
        raise wrong_field("n", _NOT_COVERED)
    offered = [*(body.get("tools") or ()), body.get("tool_choice")]
    if any(isinstance(each, dict) and each["type"] != "function" for each in offered):
        raise wrong_field("tools", _NOT_COVERED)


def _tool_use(body: Mapping[str, Any]) -> chat_task.ToolUse:
    choice = body.get("tool_choice")
    functions = [entry["function"] for entry in body.get("tools") or ()]
    if not functions:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) not in (None, "none"):
                raise wrong_field(name, "only allowed when 'tools' are specified")
    tools = chat_task.offered_tools(functions, "parameters", "tools[{}].function", _MAX_NAME_CHARS)
    only = choice["function"]["name"] if isinstance(choice, dict) else None
    chat_task.check_chosen(only, tools)
    mode = {"none": chat_task.ToolMode.NONE, "required": chat_task.ToolMode.ANY}.get(
        str(choice), chat_task.ToolMode.AUTO
    )
    return chat_task.ToolUse(
        tools=tools, mode=mode, only=only, parallel=body.get("parallel_tool_calls") is not False
    )


def _output_form(body: Mapping[str, Any], texts: Sequence[str]) -> chat_task.OutputForm:
    wanted = body.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_schema":
        described = wanted["json_schema"]
        chat_task.check_name(described["name"], "response_format.json_schema.name", _MAX_NAME_CHARS)
        schema = described.get("schema") or {}
        check_schema(schema)
        return chat_task.OutputForm(json=True, schema=schema)
    is_json = wanted["type"] == "json_object"
    if is_json and not any("json" in text.lower() for text in texts):
        raise wrong_field("messages", "must contain the word 'json' for the 'response_format' json_object")
    return chat_task.OutputForm(json=is_json)


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > _MAX_STOPS or "" in stops:
        raise wrong_field("stop", f"at most {_MAX_STOPS} sequences, none of them empty")
    return stops


def _include_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is not None and not body.get("stream"):
        raise wrong_field("stream_options", "only allowed when 'stream' is enabled")
    return bool(options and options.get("include_usage"))


def _wanted_tokens(body: Mapping[str, Any]) -> int | None:
    old, new = body.get("max_tokens"), body.get("max_completion_tokens")
    if old is not None and new is not None:
        raise wrong_field("max_tokens", "not allowed together with 'max_completion_tokens'")
    wanted: int | None = old if new is None else new
    return wanted

"""Reads a Chat Completions request as strictly as the OpenAI API does."""

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.simulator import shapes
from headrace.simulator.asking import Ask, Choosing, OutputForm, OutputKind, Tool, ToolUse
from headrace.simulator.openai_conversation import check_conversation, text_of
from headrace.simulator.openai_fields import check_fields
from headrace.simulator.openai_schema import check_strict
from headrace.simulator.refusals import Refusal
from headrace.simulator.schema_values import UnsupportedSchema, check_schema
from headrace.simulator.shapes import Misfit
from streams.models import Model, ProviderName
from streams.tokens import count_messages, count_text

_UNSUPPORTED = ("audio", "functions", "function_call", "logprobs", "top_logprobs", "web_search_options")


def read_request(body: Any, models: Mapping[str, Model]) -> Ask:
    """Turn a decoded body into what is asked.

    Raises:
        Misfit: If a field is not as documented.
        Refusal: If the request breaks a rule that concerns more than one field, or asks for what the
            simulator does not cover.
    """
    model = _model(model_name(body), models)
    check_fields(body, ())
    _refuse_unsupported(body)
    messages: list[dict[str, Any]] = body["messages"]
    check_conversation(messages)
    tool_use = _tool_use(body)
    input_tokens = count_messages(messages) + _tools_tokens(body.get("tools"))
    texts = [text_of(message) for message in messages]
    return Ask(
        model=model,
        prompt="\n".join(texts),
        question=_question(messages, texts),
        tool_results=_tool_results(messages, texts),
        identity=_identity(body),
        tool_use=tool_use,
        form=_form(body, texts),
        stop=_stops(body.get("stop")),
        max_output_tokens=_max_output_tokens(body, model, input_tokens),
        input_tokens=input_tokens,
        stream=bool(body.get("stream")),
        include_usage=_include_usage(body),
    )


def model_name(body: Any) -> str:
    """Return the model that a request names.

    Raises:
        Misfit: If the body is not an object or the name not a string.
        Refusal: If it names none.
    """
    shapes.mapping(body, ())
    if not body.get("model"):
        raise Refusal(400, "you must provide a model parameter")
    name = body["model"]
    shapes.text()(name, ("model",))
    return str(name)


def unknown_model(name: str) -> Refusal:
    """Return OpenAI's answer to a model that is not there."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return Refusal(404, message, code="model_not_found")


def _model(name: str, models: Mapping[str, Model]) -> Model:
    model = models.get(name)
    if model is None or model.provider is not ProviderName.OPENAI:
        raise unknown_model(name)
    return model


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    for name in _UNSUPPORTED:
        if body.get(name):
            raise Refusal(
                400,
                f"Unsupported parameter: '{name}' is not supported by the simulator.",
                param=name,
                code="unsupported_parameter",
            )
    if body.get("n", 1) not in {1, None}:
        raise Refusal(400, "Unsupported value: 'n' must be 1 here.", param="n", code="unsupported_value")


def _identity(body: Mapping[str, Any]) -> bytes:
    names = ("model", "messages", "tools", "tool_choice", "response_format", "seed")
    return msgspec.json.encode([body.get(name) for name in names])


def _question(messages: list[dict[str, Any]], texts: list[str]) -> str:
    for message, text in zip(reversed(messages), reversed(texts), strict=True):
        if message["role"] == "user":
            return text
    return texts[-1]


def _tool_results(messages: list[dict[str, Any]], texts: list[str]) -> tuple[str, ...]:
    results: list[str] = []
    for message, text in zip(reversed(messages), reversed(texts), strict=True):
        if message["role"] != "tool":
            break
        results.append(text)
    return tuple(reversed(results))


def _tools_tokens(tools: list[Any] | None) -> int:
    return count_text(msgspec.json.encode(tools).decode()) if tools else 0


def _tool_use(body: Mapping[str, Any]) -> ToolUse:
    listed = [entry["function"] for entry in body.get("tools") or ()]
    choice = body.get("tool_choice")
    if not listed:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None and body[name] != "none":
                raise Refusal(
                    400, f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.",
                    param=name,
                )  # fmt: skip
        return ToolUse()
    for index, function in enumerate(listed):
        _check_parameters(function, f"tools[{index}].function.parameters")
    tools = tuple(
        Tool(name=f["name"], description=f.get("description") or "", schema=f.get("parameters") or {})
        for f in listed
    )
    only = choice["function"]["name"] if isinstance(choice, dict) else None
    if only is not None and only not in {tool.name for tool in tools}:
        raise Refusal(
            400,
            f"Invalid value for 'tool_choice': no function named '{only}' in 'tools'.",
            param="tool_choice",
        )
    words = {"none": Choosing.NONE, "required": Choosing.ANY}
    choosing = words.get(choice, Choosing.AUTO) if isinstance(choice, str) else Choosing.AUTO
    return ToolUse(
        tools=tools, choosing=choosing, only=only, parallel=body.get("parallel_tool_calls") is not False
    )


def _check_parameters(function: Mapping[str, Any], param: str) -> None:
    schema = function.get("parameters") or {}
    try:
        check_schema(schema)
    except UnsupportedSchema as error:
        message = f"Invalid schema for function '{function['name']}': {error}."
        raise Refusal(400, message, param=param, code="invalid_function_parameters") from error
    if function.get("strict"):
        check_strict(schema, param, function["name"])


def _form(body: Mapping[str, Any], texts: list[str]) -> OutputForm:
    wanted = body.get("response_format") or {"type": "text"}
    kind = OutputKind(wanted["type"])
    if kind is OutputKind.JSON_SCHEMA:
        described = wanted.get("json_schema")
        if described is None:
            raise Misfit(("response_format", "json_schema"), "missing")
        schema = described.get("schema") or {}
        check_schema(schema)
        if described.get("strict"):
            check_strict(schema, "response_format", described["name"])
        return OutputForm(kind=kind, schema=schema)
    if kind is OutputKind.JSON_OBJECT and not any("json" in text.lower() for text in texts):
        raise Refusal(
            400,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            param="messages",
        )
    return OutputForm(kind=kind)


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _include_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not body.get("stream"):
        raise Refusal(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    return bool(options.get("include_usage"))


def _max_output_tokens(body: Mapping[str, Any], model: Model, input_tokens: int) -> int:
    old, new = body.get("max_tokens"), body.get("max_completion_tokens")
    if old is not None and new is not None:
        raise Refusal(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    name = "max_completion_tokens" if new is not None else "max_tokens"
    wanted = new if new is not None else old
    if wanted is not None and wanted > model.max_output_tokens:
        raise Refusal(
            400,
            f"{name} is too large: {wanted}. This model supports at most {model.max_output_tokens} "
            f"completion tokens, whereas you provided {wanted}.",
            param=name,
            code="invalid_value",
        )
    _fit_context(input_tokens, wanted or 0, model)
    room = model.context_window_tokens - input_tokens
    return int(min(wanted or model.max_output_tokens, room))


def _fit_context(input_tokens: int, wanted: int, model: Model) -> None:
    window = model.context_window_tokens
    if input_tokens + wanted <= window and input_tokens < window:
        return
    asked = f" ({input_tokens} in the messages, {wanted} in the completion)" if wanted else ""
    raise Refusal(
        400,
        f"This model's maximum context length is {window} tokens. However, your messages resulted in "
        f"{input_tokens + wanted} tokens{asked}. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )

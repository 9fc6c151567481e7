"""Messages through the official `anthropic` client: replies, tools, and wrong requests."""

import json
from typing import Any

import anthropic
import pytest

from streams.model_catalogue import count_messages, count_text
from tests.headrace.simulator.conftest import Operator

_QUESTION: list[Any] = [{"role": "user", "content": "What is the refund policy for enterprise customers?"}]
_WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
_OLD = {"anthropic-version": "2023-06-01"}


def _ask(claude: anthropic.Anthropic, **changes: Any) -> Any:
    good = {"model": "claude-3-opus", "max_tokens": 500, "messages": _QUESTION}
    return claude.messages.create(**{**good, **changes})


def test_reply(claude: anthropic.Anthropic, operator: Operator) -> None:
    """A reply has text about the question, a stop reason, usage, and is billed."""
    done = _ask(claude, system="Be brief.")
    assert done.content[0].text.startswith("(simulated)")
    assert done.stop_reason == "end_turn"
    system = {"role": "system", "content": "Be brief."}
    assert done.usage.input_tokens == count_messages([system, *_QUESTION])
    assert done.usage.output_tokens == count_text(done.content[0].text)
    billed = operator.billed()
    assert (billed["call_id"], billed["provider"], billed["model"]) == (done.id, "anthropic", "claude-3-opus")


def test_text_blocks_are_the_same_request_as_their_text(claude: anthropic.Anthropic) -> None:
    """A list of one text block counts as the text itself."""
    blocks = [{"role": "user", "content": [{"type": "text", "text": _QUESTION[0]["content"]}]}]
    assert _ask(claude, messages=blocks).usage.input_tokens == _ask(claude).usage.input_tokens


def test_stream_events(claude: anthropic.Anthropic) -> None:
    """The events come in the documented order and make up the same message as a whole reply."""
    whole = _ask(claude)
    with claude.messages.stream(model="claude-3-opus", max_tokens=500, messages=_QUESTION) as stream:
        final = stream.get_final_message()
    assert final.content[0].to_dict() | {"parsed_output": None} == whole.content[0].to_dict() | {
        "parsed_output": None
    }
    assert (final.usage, final.stop_reason) == (whole.usage, whole.stop_reason)
    kinds = [event.type for event in _ask(claude, stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_stream_has_pings(operator: Operator) -> None:
    """Pings are sent, which the SDK swallows."""
    body = {"model": "claude-3-opus", "max_tokens": 9, "messages": _QUESTION, "stream": True}
    response = operator.http.post("/v1/messages", json=body, headers={"x-api-key": "sk-1", **_OLD})
    assert 'event: ping\ndata: {"type":"ping"}\n\n' in response.text


def test_max_tokens_and_stop_sequences(claude: anthropic.Anthropic, operator: Operator) -> None:
    """The reply says which of the two ended it."""
    cut = _ask(claude, max_tokens=4)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 4)
    operator.behave(answers=[{"text": "one two three"}])
    stopped = _ask(claude, stop_sequences=[" three", "nine"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " three")
    assert stopped.content[0].text == "one two"


def test_tools_and_their_results(claude: anthropic.Anthropic) -> None:
    """A tool is used, its result is taken up in the answer."""
    prompt = [{"role": "user", "content": "How is the weather in Lisbon?"}]
    first = _ask(claude, messages=prompt, tools=[_WEATHER])
    assert first.stop_reason == "tool_use"
    use = first.content[0]
    assert use.name == "get_weather"
    assert "city" in use.input
    result = {
        "type": "tool_result",
        "tool_use_id": use.id,
        "content": [{"type": "text", "text": "23 degrees"}],
    }
    history = [
        *prompt,
        {"role": "assistant", "content": [use.to_dict()]},
        {"role": "user", "content": [result]},
    ]
    done = _ask(claude, messages=history, tools=[_WEATHER])
    assert done.stop_reason == "end_turn"
    assert "23 degrees" in done.content[0].text


def test_tool_use_streams_in_pieces(claude: anthropic.Anthropic, operator: Operator) -> None:
    """The input of a tool use comes as partial JSON."""
    call = {"name": "get_weather", "arguments": {"city": "Lisbon"}}
    operator.behave(answers=[{"tool_calls": [call], "chunk_chars": 3}])
    parts: list[str] = [
        event.delta.partial_json
        for event in _ask(claude, tools=[_WEATHER], stream=True)
        if event.type == "content_block_delta"
    ]
    assert len(parts) > 3
    assert json.loads("".join(parts)) == {"city": "Lisbon"}


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_tool_choice(claude: anthropic.Anthropic, choice: Any) -> None:
    """A tool that must be used is used."""
    assert _ask(claude, tools=[_WEATHER], tool_choice=choice).stop_reason == "tool_use"


def test_structured_output(claude: anthropic.Anthropic) -> None:
    """`output_config` with a schema gives JSON that conforms."""
    schema = {
        "type": "object",
        "properties": {"total": {"type": "integer"}},
        "required": ["total"],
        "additionalProperties": False,
    }
    done = _ask(claude, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert isinstance(json.loads(done.content[0].text)["total"], int)


@pytest.mark.parametrize(
    ("system", "fields"),
    [
        ("Be brief. Answer with one JSON object and nothing else. JSON Schema:\n%s", {"total"}),
        ("Answer with one JSON object and nothing else.", {"simulated", "topic", "answer"}),
        ("Answer with one JSON object. JSON Schema: {no schema}", {"simulated", "topic", "answer"}),
    ],
)
def test_output_in_the_form_that_the_system_prompt_asks_for(
    claude: anthropic.Anthropic, system: str, fields: set[str]
) -> None:
    """As models do whose API has no parameter for it."""
    schema = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
    done = _ask(claude, system=system.replace("%s", json.dumps(schema)))
    assert fields <= json.loads(done.content[0].text).keys()


def test_a_system_prompt_without_json_asks_for_text(claude: anthropic.Anthropic) -> None:
    """The word alone is no instruction."""
    assert _ask(claude, system="Explain what JSON Schema is.").content[0].text.startswith("(simulated)")


def test_sampling_parameters_by_api_version(claude: anthropic.Anthropic) -> None:
    """The API version that the SDK sends has no `temperature`; the one before takes it, up to 1."""
    with pytest.raises(anthropic.BadRequestError, match="temperature: Extra inputs are not permitted"):
        _ask(claude, extra_body={"temperature": 1})
    assert _ask(claude, extra_body={"temperature": 1}, extra_headers=_OLD).stop_reason == "end_turn"
    with pytest.raises(anthropic.BadRequestError, match="less than or equal to 1"):
        _ask(claude, extra_body={"temperature": 1.5}, extra_headers=_OLD)


_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
_USING = {"role": "assistant", "content": [_USE]}
_RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}]}
_HELLO = {"role": "user", "content": "hello"}

_BAD_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    "no max_tokens": ({"max_tokens": ...}, "max_tokens: Field required"),
    "no model": ({"model": ...}, "model: Field required"),
    "no messages": ({"messages": ...}, "messages: Field required"),
    "messages empty": ({"messages": []}, "messages: List should have at least 1 item"),
    "max_tokens zero": ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    "max_tokens too large": ({"max_tokens": 5000}, "max_tokens: 5000 > 4096"),
    "max_tokens a string": ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    "bad role": ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role: Input tag 'boss'"),
    "system role": ({"messages": [{"role": "system", "content": "x"}, _HELLO]}, 'unexpected role "system"'),
    "assistant first": (
        {"messages": [{"role": "assistant", "content": "x"}, _HELLO]},
        'first message must use the "user" role',
    ),
    "empty content": ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
    "empty text block": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        "text content blocks must be non-empty",
    ),
    "prefill with trailing space": (
        {"messages": [_HELLO, {"role": "assistant", "content": "So "}]},
        "final assistant content cannot end with trailing whitespace",
    ),
    "bad block": (
        {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
        "messages[0].content[0].type: Input tag",
    ),
    "result of nothing": ({"messages": [_HELLO, _RESULT]}, "unexpected `tool_use_id`"),
    "use without result": ({"messages": [_HELLO, _USING, _HELLO]}, "without `tool_result` blocks"),
    "use at the end": ({"messages": [_HELLO, _USING]}, "without `tool_result` blocks"),
    "unknown field": ({"colour": 1}, "colour: Extra inputs are not permitted"),
    "blank stop sequence": ({"stop_sequences": [" "]}, "must contain non-whitespace"),
    "same tool twice": ({"tools": [_WEATHER, _WEATHER]}, "tool names must be unique"),
    "tool_choice without tools": (
        {"tool_choice": {"type": "any"}},
        "only be specified while providing tools",
    ),
    "tool_choice of no tool": (
        {"tools": [_WEATHER], "tool_choice": {"type": "tool", "name": "g"}},
        "no tool 'g'",
    ),
    "thinking": ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "do not support thinking"),
    "prompt too long": (
        {"messages": [{"role": "user", "content": "word " * 201_000}]},
        "prompt is too long: 20",
    ),
}


@pytest.mark.parametrize("name", _BAD_REQUESTS)
def test_bad_request(claude: anthropic.Anthropic, operator: Operator, name: str) -> None:
    """Each wrong request is an `invalid_request_error` that says what is wrong, and is not billed."""
    changes, words = _BAD_REQUESTS[name]
    body = {"model": "claude-3-opus", "max_tokens": 50, "messages": [_HELLO], **changes}
    body = {key: value for key, value in body.items() if value is not ...}
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.post("/v1/messages", body=body, cast_to=object)
    error: Any = caught.value.body
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    assert words in error["error"]["message"]
    assert error["request_id"] == caught.value.request_id
    assert operator.invoice()["calls"] == 0


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([_HELLO, _HELLO], id="two user turns"),
        pytest.param([_HELLO, {"role": "assistant", "content": "So"}], id="prefill"),
        pytest.param([_HELLO, _USING, _RESULT, _HELLO], id="result and then text"),
    ],
)
def test_turns_that_the_api_takes(claude: anthropic.Anthropic, messages: Any) -> None:
    """Consecutive turns of one role are joined, and the last may be the assistant's."""
    assert _ask(claude, messages=messages).stop_reason == "end_turn"


def test_unknown_model(claude: anthropic.Anthropic) -> None:
    """An unknown model, or the other provider's, is a 404."""
    for name in ("claude-99", "gpt-4o"):
        with pytest.raises(anthropic.NotFoundError, match=f"`{name}` does not exist"):
            _ask(claude, model=name)


def test_key_and_version(address: str, operator: Operator) -> None:
    """The key is needed, by either header, and so is a known API version."""
    with (
        anthropic.Anthropic(base_url=address, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError, match="API key is incorrect"),
    ):
        _ask(client)
    good = {"model": "claude-3-opus", "max_tokens": 9, "messages": [_HELLO]}

    def status(**headers: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = operator.http.post("/v1/messages", json=good, headers=named)
        return response.status_code, response.json().get("error", {}).get("type", "")

    assert status(anthropic_version="2023-06-01") == (401, "authentication_error")
    assert status(x_api_key="sk-1") == (400, "invalid_request_error")
    assert status(x_api_key="sk-1", anthropic_version="2020-01-01") == (400, "invalid_request_error")
    assert status(x_api_key="sk-1", anthropic_version="2023-06-01") == (200, "")
    assert status(authorization="Bearer sk-1", anthropic_version="2026-10-21") == (200, "")

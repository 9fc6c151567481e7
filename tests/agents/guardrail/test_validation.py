"""Whether a request can be served at all."""

from typing import Any

import pytest

from agents.guardrail.stage import validate
from streams.control.catalogue import SHIPPED
from streams.errors import InvalidRequest
from streams.events import Message, TextPart
from streams.model_catalogue import MODELS
from streams.settings import Settings
from tests.fakes.envelopes import chat, said

PARTS: dict[str, Any] = {"kafka_bootstrap": "k:1", "redis_url": "redis://r", "clickhouse_url": "http://c"}
SETTINGS = Settings(**PARTS, max_input_tokens=1_000, max_tokens_per_request=10_000, max_body_bytes=20_000)
USER = said("user", "hello")
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"query": "q", "messages": (USER,)}, "invalid_request", "query"),
        ({"messages": (USER,), "template": "general_chat"}, "invalid_request", "template"),
        ({"query": None}, "missing_required_parameter", "query"),
        ({"query": " \n\t "}, "missing_required_parameter", "query"),
        ({"messages": (said("user", " "),)}, "invalid_request", "messages"),
        ({"messages": (USER, said("tool", "42"))}, "invalid_request", "messages[1].tool_call_id"),
        ({"messages": (USER, Message(role="assistant"))}, "invalid_request", "messages[1].content"),
        ({"model": "gpt-9"}, "model_not_found", "model"),
        ({"max_tokens": 10_001}, "invalid_value", "max_tokens"),
        ({"model": "claude-3-opus", "max_tokens": 4_097}, "invalid_value", "max_tokens"),
        ({"variables": {"a": "x" * 21_000}}, "request_too_large", None),
        ({"response_format": {"type": "xml"}}, "invalid_response_format", "response_format.type"),
        (
            {"response_format": {"type": "json_schema"}},
            "invalid_response_format",
            "response_format.json_schema.schema",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "s", "schema": {"type": "wat"}},
                }
            },
            "invalid_response_format",
            "response_format",
        ),
        ({"tools": (TOOL, {"type": "retrieval"})}, "unsupported_parameter", "tools[1].type"),
        ({"tools": ({"type": "function"},)}, "invalid_request", "tools[0].function.name"),
        (
            {"tools": ({"type": "function", "function": {"name": ""}},)},
            "invalid_request",
            "tools[0].function.name",
        ),
        ({"query": "x" * 32_001}, "request_too_large", None),
        ({"stop": ("a",) * 5}, "invalid_request", "stop"),
        ({"stop": ("",)}, "invalid_request", "stop[0]"),
        ({"variables": {f"v{n}": "" for n in range(101)}}, "invalid_request", "variables"),
        ({"messages": (USER,) * 101}, "invalid_request", "messages"),
        ({"query": "word " * 1_500}, "context_length_exceeded", "query"),
        ({"variables": {"context": "word " * 1_500}}, "context_length_exceeded", "query"),
        ({"messages": (USER, said("user", "word " * 1_500))}, "context_length_exceeded", "messages"),
    ],
)
def test_what_cannot_be_served_is_refused(fields: dict[str, Any], code: str, param: str | None) -> None:
    """With a stable code, and the field that is to be changed."""
    with pytest.raises(InvalidRequest) as caught:
        validate(chat(**fields), SETTINGS, SHIPPED)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"messages": (said("system", "be brief"), USER)},
        {"messages": (said("developer", "be brief"), USER)},
        {"messages": (Message(role="user", content=(TextPart(text="a"), TextPart(text=""))),)},
        {
            "messages": (
                USER,
                Message(role="assistant", tool_calls=(CALL,)),
                Message(role="tool", content="42", tool_call_id="c"),
            )
        },
        {"messages": (said("assistant", "hi"), USER)},
        {"messages": (USER, Message(role="tool", content="", tool_call_id="c"))},
        {"model": "claude-3-opus", "max_tokens": 4_096},
        {"max_tokens": 10_000},
        {"tools": (TOOL,)},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_object"}},
        {"response_format": SCHEMA},
        {"template": "rag_answer", "variables": {"context": "c"}},
    ],
)
def test_what_can_be_served_passes(fields: dict[str, Any]) -> None:
    """Up to the limits themselves; the estimate of its tokens is returned."""
    assert validate(chat(**fields), SETTINGS, SHIPPED) > 0


def test_the_messages_say_what_to_change() -> None:
    """They are read by whoever sent the request."""
    with pytest.raises(InvalidRequest, match=r"'gpt-9' does not exist; known models: .*gpt-4o-mini"):
        validate(chat(model="gpt-9"), SETTINGS, SHIPPED)
    with pytest.raises(InvalidRequest, match=r"about 1501 tokens; the limit is 1000: shorten it"):
        validate(chat(query="word " * 1_500), SETTINGS, SHIPPED)


def test_a_models_own_window_counts_where_it_is_the_smaller() -> None:
    """A generous installation does not make a model larger."""
    most = dict.fromkeys(("max_input_tokens", "max_tokens_per_request", "max_body_bytes"), 10**9)
    wide = SETTINGS.model_copy(update=most)
    variables = {f"v{n}": "a b c d " * 3_900 for n in range(10)}
    assert validate(chat(variables=variables), wide, SHIPPED) > MODELS["gpt-4o"].context_window_tokens
    with pytest.raises(InvalidRequest, match="the limit is 128000"):
        validate(chat(variables=variables, model="gpt-4o"), wide, SHIPPED)
    with pytest.raises(InvalidRequest, match="max_tokens must be at most 16384"):
        validate(chat(model="gpt-4o", max_tokens=16_385), wide, SHIPPED)


def test_tokens_of_variables_count() -> None:
    """They are rendered into the prompt."""
    assert (
        validate(chat(variables={"a": "hello world"}), SETTINGS, SHIPPED)
        == validate(chat(), SETTINGS, SHIPPED) + 2
    )

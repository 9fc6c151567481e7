"""OpenAI's terms in Anthropic's, without a network."""

from typing import Any

import pytest

from agents.providers.anthropic.messages import request_body
from agents.providers.faults import Refused
from agents.providers.provider import ProviderCall, Timeouts
from streams.events import CacheControl, Message, TextPart


def body(*messages: Message, **settings: Any) -> dict[str, Any]:
    return request_body(
        ProviderCall(
            call_id="c",
            model="claude-3-opus",
            messages=messages,
            max_output_tokens=10,
            timeouts=Timeouts(connect_s=1, first_token_s=1, between_tokens_s=1, total_s=1),
            **settings,
        )
    )


USER = Message(role="user", content="Hi")


def test_instructions_are_joined_and_leave_the_conversation() -> None:
    """System and developer messages, wherever they stand; parts stay parts, with their cache marks."""
    made = body(
        Message(role="system", content="One."),
        USER,
        Message(role="developer", content="Two."),
    )
    assert made["system"] == "One.\n\nTwo."
    cached = TextPart(text="Two.", cache_control=CacheControl(ttl="1h"))
    parts = body(Message(role="system", content="One."), USER, Message(role="system", content=(cached,)))
    assert parts["system"] == [
        {"type": "text", "text": "One."},
        {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    assert made["messages"] == [{"role": "user", "content": "Hi"}]


def test_instructions_alone_become_what_the_user_says() -> None:
    """The API wants a turn of the user's."""
    made = body(Message(role="system", content="Say hello."))
    assert made["messages"] == [{"role": "user", "content": "Say hello."}]
    assert "system" not in made


def test_tool_calls_and_results_keep_their_ids() -> None:
    """Parallel results share one turn, and the words of the user that follow join it."""
    calls = tuple(
        {"id": f"t{n}", "type": "function", "function": {"name": "f", "arguments": f'{{"n": {n}}}'}}
        for n in (1, 2)
    )
    made = body(
        USER,
        Message(role="assistant", content="Let me look.", tool_calls=calls),
        Message(role="tool", tool_call_id="t1", content="a"),
        Message(role="tool", tool_call_id="t2", content="b"),
        Message(role="user", content="Well?"),
    )
    assert made["messages"][1]["content"] == [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 1}},
        {"type": "tool_use", "id": "t2", "name": "f", "input": {"n": 2}},
    ]
    assert made["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "a"},
            {"type": "tool_result", "tool_use_id": "t2", "content": "b"},
            {"type": "text", "text": "Well?"},
        ],
    }


def test_arguments_that_are_not_json_are_named() -> None:
    """The sender reads which field to mend."""
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{oops"}}
    with pytest.raises(Refused) as raised:
        body(USER, Message(role="assistant", tool_calls=(call,)))
    assert raised.value.param == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_tools_and_their_choice(choice: str | dict[str, Any], expected: dict[str, Any]) -> None:
    """Parameters become the input schema; a function without any takes an empty object."""
    made = body(USER, tools=({"type": "function", "function": {"name": "f"}},), tool_choice=choice)
    assert made["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert made["tool_choice"] == expected


def test_a_json_answer_is_asked_for_in_words() -> None:
    """With the schema, where there is one."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    made = body(Message(role="system", content="Be brief."), USER, response_format=form)
    assert made["system"].startswith("Be brief.\n\nAnswer with one JSON object")
    assert '"city"' in made["system"]
    assert "system" not in body(USER, response_format={"type": "text"})


def test_parameters_within_anthropics_bounds() -> None:
    """A temperature of up to 2 is cut to 1."""
    made = body(USER, temperature=1.5, stop=("END",), user="hash")
    assert (made["temperature"], made["stop_sequences"]) == (1.0, ["END"])
    assert made["metadata"] == {"user_id": "hash"}
    assert not body(USER).keys() & {"temperature", "top_p", "stop_sequences", "tools", "metadata"}


@pytest.mark.parametrize("depth", [70, 900, 5_000])
def test_arguments_are_nested_as_deep_as_bodies_may_be(depth: int) -> None:
    """What is deeper is the sender's mistake: it was a fault of the provider's, retried and booked."""
    arguments = '{"a":' + "[" * depth + "]" * depth + "}"
    with pytest.raises(
        Refused, match=r"messages\[1\].tool_calls\[0\].function.arguments is nested deeper"
    ) as caught:
        body(USER, _calling(arguments))
    assert caught.value.param == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize("arguments", ["[1]", '"x"', "null", "7"])
def test_arguments_are_an_object(arguments: str) -> None:
    """The provider would refuse them, in words of its own."""
    with pytest.raises(Refused, match="is not a JSON object"):
        body(USER, _calling(arguments))


def _calling(arguments: str) -> Message:
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return Message(role="assistant", tool_calls=(call,))

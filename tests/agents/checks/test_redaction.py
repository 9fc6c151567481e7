"""Every text of a request is redacted, and the texts of chosen sources are looked through."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from agents.checks.pii import redact
from agents.checks.redaction import KEPT, redacted, untrusted_texts
from streams.codec import encode
from streams.events import ChatRequested, EmbeddingsRequested, Message, TextPart
from streams.settings import InjectionSource
from tests.fakes.envelopes import chat, said

CARD = "4111 1111 1111 1111"
LABEL, NAME = "[REDACTED_CREDIT_CARD]", "REDACTED_CREDIT_CARD"


def texts(kind: inspect.Type, path: str) -> Iterator[tuple[str, Any]]:
    """Every place of a type where a text may stand, as the path and a value with a card number there."""
    match kind:
        case inspect.StrType():
            yield path, CARD
        case inspect.AnyType():
            yield path, [CARD, {"k": CARD}, int(CARD.replace(" ", ""))]
        case inspect.VarTupleType(item_type=item):
            yield from ((where, (value,)) for where, value in texts(item, f"{path}[]"))
        case inspect.DictType(value_type=item):
            yield f"{path} (key)", {CARD: "x"}
            yield from ((where, {"k": value}) for where, value in texts(item, f"{path}.k"))
        case inspect.UnionType(types=types):
            for each in types:
                yield from texts(each, path)
        case inspect.StructType(cls=cls):
            yield from fields(cls, f"{path}.")
        case _:
            return


def fields(cls: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    needed = {field.name: _plain(field.type) for field in info.fields if field.required}
    for field in info.fields:
        for where, value in texts(field.type, prefix + field.name):
            yield where, cls(**(needed | {field.name: value}))


def _plain(kind: inspect.Type) -> Any:
    match kind:
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.VarTupleType():
            return ("x",)
        case _:
            return "x"


PLACES = [
    *fields(ChatRequested),
    *((f"embeddings {path}", value) for path, value in fields(EmbeddingsRequested)),
]


@pytest.mark.parametrize(("path", "request_"), PLACES, ids=[path for path, _ in PLACES])
def test_no_field_is_forgotten(path: str, request_: Any) -> None:
    """Whatever fields requests come to have: a card number goes on in none that is not named as kept."""
    clean, types = redacted(request_, redact)
    kept = any(path.removeprefix("embeddings ").startswith(each) for each in KEPT)
    assert (b"1111" in encode(clean)) == kept
    assert types == (() if kept else ("credit_card",))


def test_what_is_kept_exists_and_has_its_reason() -> None:
    """A field that is gone is not in the list."""
    known = {path for path, _ in PLACES} | {"messages[].role", "on_disconnect", "messages[].tool_calls[].id"}
    for path, reason in KEPT.items():
        assert reason
        assert any(where.startswith(path) for where in known), path


def _call(arguments: str, name: str = "pay") -> dict[str, Any]:
    return {
        "id": "call_4111111111111111",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


@pytest.mark.parametrize(
    ("arguments", "clean"),
    [
        ('{"card": "4111 1111 1111 1111"}', {"card": LABEL}),
        ('{"card": 4111111111111111, "n": 2}', {"card": LABEL, "n": 2}),
        ('{"card": "4111\\u0020\\u0031111 1111 1111"}', {"card": LABEL}),
        (
            '{"a": [{"4111111111111111": null}], "say": "\\"ann@example.com\\""}',
            {"a": [{NAME: None}], "say": '"[REDACTED_EMAIL]"'},
        ),
        (
            '{"phone_number": "5551234", "phone": 5551234, "order": 5551234, "max": 2147483647}',
            {
                "phone_number": "[REDACTED_PHONE]",
                "phone": "[REDACTED_PHONE]",
                "order": 5551234,
                "max": 2147483647,
            },
        ),
        ('{"a": "4111 1111 1111 1111", "a": "x"}', {"a": "x"}),
    ],
)
def test_arguments_stay_json(arguments: str, clean: dict[str, Any]) -> None:
    """Redacted within the values, whatever the escapes; what is not personal data stays as it is."""
    request, _ = redacted(
        chat(query=None, messages=(Message(role="assistant", tool_calls=(_call(arguments),)),)), redact
    )
    assert request.messages is not None
    (call,) = request.messages[0].tool_calls or ()
    assert json.loads(call["function"]["arguments"]) == clean
    assert call["id"] == "call_4111111111111111"


@pytest.mark.parametrize(
    "arguments", ['{"a":  "x", "n": 1e2}', "", "no JSON", '{"a":', "[" * 500 + "]" * 500]
)
def test_arguments_without_personal_data_are_not_touched(arguments: str) -> None:
    """Not even their blanks."""
    asked = chat(query=None, messages=(Message(role="assistant", tool_calls=(_call(arguments),)),))
    assert redacted(asked, redact) == (asked, ())


def test_names_are_such_that_a_provider_takes_them() -> None:
    """A tool is called by the same name everywhere."""
    tool = {
        "type": "function",
        "function": {
            "name": "visa_4111111111111111",
            "description": f"charges {CARD}",
            "parameters": {
                "type": "object",
                "properties": {"card": {"type": "string", "enum": [CARD], "default": CARD}},
                "maximum": 2147483647,
            },
        },
    }
    asked = chat(
        query=None,
        messages=(
            said("user", "go"),
            Message(role="assistant", tool_calls=(_call("{}", "visa_4111111111111111"),)),
        ),
        tools=(tool,),
        tool_choice={"type": "function", "function": {"name": "visa_4111111111111111"}},
    )
    clean, _ = redacted(asked, redact)
    name = f"visa_{NAME}"
    assert clean.tools is not None
    assert clean.messages is not None
    function = clean.tools[0]["function"]
    assert function["name"] == name
    assert function["description"] == f"charges {LABEL}"
    assert function["parameters"]["properties"]["card"] == {
        "type": "string",
        "enum": [LABEL],
        "default": LABEL,
    }
    assert function["parameters"]["maximum"] == 2147483647
    assert clean.tool_choice == {"type": "function", "function": {"name": name}}
    assert (clean.messages[1].tool_calls or ())[0]["function"]["name"] == name


def test_a_number_cut_into_two_parts_is_found() -> None:
    """Parts are one text to the model; parts without personal data stay parts."""
    cut = Message(role="user", content=(TextPart(text="Card 4111 1111"), TextPart(text="or ann@x.com")))
    whole = Message(role="user", content=(TextPart(text="Hello"), TextPart(text="world")))
    phone = Message(role="user", content=(TextPart(text="Call me on"), TextPart(text="5551234")))
    clean, types = redacted(chat(query=None, messages=(cut, whole, phone)), redact)
    assert clean.messages is not None
    assert [message.text for message in clean.messages] == [
        "Card 4111 1111\nor [REDACTED_EMAIL]",
        "Hello\nworld",
        "Call me on\n[REDACTED_PHONE]",
    ]
    assert clean.messages[1] == whole
    assert types == ("email", "phone")


@pytest.mark.parametrize(
    "cut", [("4111 1111 ", "1111 1111"), ("4111 1111", "1111 1111"), ("41111", "11111111111")]
)
def test_a_card_cut_within_its_number_is_found(cut: tuple[str, str]) -> None:
    """However the model joins the parts."""
    message = Message(role="system", content=tuple(TextPart(text=text) for text in cut))
    clean, types = redacted(chat(query=None, messages=(message,)), redact)
    assert [each.text for each in clean.messages or ()] == ["[REDACTED_CREDIT_CARD]"]
    assert types == ("credit_card",)


CONVERSATION = chat(
    query=None,
    messages=(
        said("system", "in system"),
        msgspec.structs.replace(said("user", "in user"), name="in name"),
        Message(role="assistant", content="in assistant", tool_calls=(_call('{"a": "in call"}'),)),
        Message(role="tool", content="in tool", tool_call_id="c"),
    ),
    tools=({"type": "function", "function": {"name": "f", "description": "in definitions"}},),
    stop=("in stop",),
)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (("user", "tool", "variables"), ["in user", "in name", "in tool"]),
        (("assistant",), ["in assistant", "in call"]),
        (("system", "developer"), ["in system"]),
        (("tools",), ["in definitions"]),
        ((), []),
    ],
)
def test_whose_texts_are_looked_through(sources: tuple[InjectionSource, ...], expected: list[str]) -> None:
    """Those that the policy names, a user's name included; ids and roles are no texts."""
    found = "\n".join(untrusted_texts(CONVERSATION, sources))
    said = ("system", "user", "name", "assistant", "call", "tool", "definitions", "stop")
    assert [f"in {place}" for place in said if f"in {place}" in found] == expected
    assert "call_41" not in found


def test_variables_and_query_are_looked_through_apart() -> None:
    """Each by its own source."""
    asked = chat(query="the query", variables={"context": "the context"})
    assert untrusted_texts(asked, ("user",)) == ["the query"]
    assert untrusted_texts(asked, ("variables",)) == ["the context"]

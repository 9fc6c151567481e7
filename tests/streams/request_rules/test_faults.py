"""Mistakes in words that their sender knows."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from streams.request_rules.faults import explain


class Part(Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    text: str


class Turn(Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: str | tuple[Part, ...] | None = None


class Body(Struct, forbid_unknown_fields=True):
    messages: Annotated[tuple[Turn, ...], Meta(min_length=1, max_length=2)]
    audio: None = None
    name: Annotated[str, Meta(min_length=1, max_length=3)] | None = None
    share: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    biases: dict[str, Annotated[float, Meta(ge=-1.0)]] | None = None
    tier: Literal["flex", "auto"] | None = None


HELLO = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("fields", "code", "param", "message"),
    [
        ({"messages": []}, "invalid_request", "messages", "messages: at least 1 are required, got 0"),
        ({"messages": [HELLO] * 3}, "invalid_request", "messages", "messages: at most 2 are allowed, got 3"),
        ({"name": "abcd"}, "invalid_request", "name", "name: at most 3 characters are allowed, got 4"),
        ({"name": 7}, "invalid_request", "name", "name: must be text, not a whole number"),
        ({"share": 7.5}, "invalid_request", "share", "share: must be at most 1, got 7.5"),
        ({"share": "x" * 200}, "invalid_request", "share", "share: must be a number, not text"),
        ({"biases": {"a": -2}}, "invalid_request", "biases[...]", "biases[...]: must be at least -1"),
        ({"tier": "gold"}, "invalid_request", "tier", 'tier: must be auto or flex, got "gold"'),
        (
            {"messages": [HELLO, {"role": "robot"}]},
            "invalid_request",
            "messages[1].role",
            'messages[1].role: must be assistant or user, got "robot"',
        ),
        (
            {"messages": [{"role": "user", "content": 1}]},
            "invalid_request",
            "messages[0].content",
            "messages[0].content: must be text or a list, not a whole number",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "unsupported_parameter",
            "messages[0].content[0].type",
            "messages[0].content[0].type: 'image_url' is not supported: only text parts are supported",
        ),
        ({"audio": {}}, "unsupported_parameter", "audio", "audio is not supported: answers are text"),
        (
            {"moderation": {}},
            "unsupported_parameter",
            "moderation",
            "moderation is not supported: the guardrails",
        ),
        ({"shiny": 1}, "unknown_parameter", "shiny", "unknown field 'shiny': it is not known here"),
        (
            {"messages": [{}]},
            "missing_required_parameter",
            "messages[0].role",
            "messages[0].role is required",
        ),
    ],
)
def test_the_field_what_is_allowed_and_what_came(
    fields: dict[str, Any], code: str, param: str, message: str
) -> None:
    """Of JSON as bytes and of objects alike; never in the words of a library."""
    sent = {"messages": [HELLO], **fields}
    for data, read in ((msgspec.json.encode(sent), msgspec.json.decode), (sent, msgspec.convert)):
        with pytest.raises(msgspec.ValidationError) as caught:
            read(data, type=Body)
        told = explain(caught.value, data, Body)
        assert (told.code, told.param) == (code, param)
        assert told.message.startswith(message)
        assert "`" not in told.message

"""Bodies to events, and the checks that both kinds of body share."""

from typing import Any

import msgspec
import pytest

from ingest.errors import as_api_error
from ingest.native.schema import ChatBody, native_request
from ingest.openai.chat_schema import DecodedCompletion, completion_request, decode_completion
from ingest.submit.submission import check_request
from streams.codec import decode, encode
from streams.control.catalogue import SHIPPED
from streams.errors import InvalidRequest
from streams.events import ChatRequested, Message
from streams.registry.registry import fingerprint
from streams.request_rules.sent_requests import SentMessage
from streams.serving.responses import ApiError
from tests.ingest.fakes import settings

HELLO = (Message(role="user", content="hello"),)
SENT = (SentMessage(role="user", content="hello"),)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def _completion(stream: bool = False, user_header: str | None = None, **fields: Any) -> ChatRequested:
    sent = {"messages": [{"role": "user", "content": "hello"}]} | fields
    body = decode_completion(msgspec.json.encode(sent)).body
    return completion_request(
        DecodedCompletion(body, {}), user_header=user_header, stream=stream, deadline_ms=None
    )


def test_a_native_body_becomes_the_event() -> None:
    """Every field that the client may set arrives under its own name."""
    body = ChatBody(
        query="why?",
        user_id="ada",
        template="general_chat",
        variables={"a": "b"},
        session_id="s",
        stop=("x",),
    )
    event = native_request(body)
    assert (event.query, event.user_id, event.template) == ("why?", "ada", "general_chat")
    assert (event.variables, event.session_id, event.stop) == ({"a": "b"}, "s", ("x",))
    assert (event.tenant, event.tier, event.accepted_at, event.request_id) == (None, None, None, None)


def test_every_field_of_a_native_body_is_one_of_the_event() -> None:
    """A field that the event does not have would be dropped without a word."""
    assert set(ChatBody.__struct_fields__) <= set(ChatRequested.__struct_fields__)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (ChatBody(user_id="u"), "query"),
        (ChatBody(user_id="u", query="  \n"), "query"),
        (ChatBody(user_id="u", query="a", messages=SENT), "query"),
        (ChatBody(user_id="u", messages=SENT, template="general_chat"), "template"),
        (ChatBody(user_id="u", messages=SENT, variables={"a": "b"}), "template"),
    ],
)
def test_a_native_body_asks_one_thing(body: ChatBody, param: str) -> None:
    """Either a query, with or without a template, or messages."""
    with pytest.raises((ApiError, InvalidRequest)) as caught:
        check_request(native_request(body), settings(max_tokens_per_request=100), SHIPPED)
    assert as_api_error(caught.value).error.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"store": True, "service_tier": "flex", "prompt_cache_key": "k", "safety_identifier": "s"},
        {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "logprobs": False},
        {"modalities": ["text"], "parallel_tool_calls": True, "functions": None, "audio": None},
        {"metadata": {"team": "a"}},
    ],
)
def test_what_cannot_change_the_answer_is_accepted(fields: dict[str, Any]) -> None:
    """The clients' harmless parameters, and the usual values of the others."""
    assert _completion(**fields).messages == HELLO


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 0}, "top_logprobs"),
        ({"audio": {}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"reasoning_effort": "utter"}, "reasoning_effort"),
        ({"prediction": {"type": "content"}}, "prediction.content"),
        ({"web_search_options": {}}, "web_search_options"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ],
)
def test_what_would_change_the_answer_is_refused(fields: dict[str, Any], param: str) -> None:
    """By name, instead of an answer that silently ignores it."""
    with pytest.raises((ApiError, InvalidRequest)) as caught:
        _completion(**fields)
    assert (as_api_error(caught.value).status, as_api_error(caught.value).error.param) == (400, param)


@pytest.mark.parametrize(
    ("header", "user", "user_id"),
    [(None, None, "anonymous"), (None, "ada", "ada"), ("bob", "ada", "bob"), ("bob", None, "bob")],
)
def test_whose_request_it_is(header: str | None, user: str | None, user_id: str) -> None:
    """The header goes before the body; without both the user is anonymous."""
    assert _completion(user_header=header, user=user).user_id == user_id


def test_openai_parameters_keep_their_meaning() -> None:
    """`max_completion_tokens` is `max_tokens`, one stop sequence is a list of one."""
    event = _completion(max_completion_tokens=7, stop="END", top_p=0.5, stream=True)
    assert (event.max_tokens, event.stop, event.top_p, event.stream) == (7, ("END",), 0.5, True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 101}, "max_tokens"),
        ({"stop": ("a", "b", "c", "d", "e")}, "stop"),
        ({"tools": ({"type": "retrieval"},)}, "tools[0].type"),
        ({"tools": (TOOL, {"type": "function", "function": {}})}, "tools[1].function.name"),
        ({"tools": (TOOL,) * 129}, "tools"),
        ({"tool_choice": "maybe", "tools": (TOOL,)}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"metadata": {str(index): 1 for index in range(17)}}, "metadata"),
        ({"messages": (Message(role="user"),)}, "messages[0].content"),
        ({"messages": (*HELLO, Message(role="tool", content="1"))}, "messages[1].tool_call_id"),
    ],
)
def test_wrong_values_are_refused_with_their_place(fields: dict[str, Any], param: str) -> None:
    """Before anything is accepted."""
    with pytest.raises((ApiError, InvalidRequest)) as caught:
        check_request(
            ChatRequested(**{"user_id": "u", "messages": HELLO} | fields),
            settings(max_tokens_per_request=100),
            SHIPPED,
        )
    assert (as_api_error(caught.value).status, as_api_error(caught.value).error.param) == (400, param)


def test_an_unknown_model_is_not_found() -> None:
    """With OpenAI's code, and the names of those that are known."""
    with pytest.raises((ApiError, InvalidRequest)) as caught:
        check_request(
            ChatRequested(user_id="u", model="gpt-9"), settings(max_tokens_per_request=100), SHIPPED
        )
    assert (as_api_error(caught.value).status, as_api_error(caught.value).error.code) == (
        404,
        "model_not_found",
    )
    assert "gpt-4o" in as_api_error(caught.value).error.message


def test_parts_count_together() -> None:
    """Many parts are no way around the limit on a message."""
    parts = [{"type": "text", "text": "x" * 20_000}] * 2
    event = _completion(messages=[{"role": "user", "content": parts}])
    with pytest.raises((ApiError, InvalidRequest)) as caught:
        check_request(event, settings(max_tokens_per_request=100), SHIPPED)
    assert as_api_error(caught.value).error.param == "messages[0].content"


def test_deep_free_form_fields_are_refused() -> None:
    """Whoever reads the record downstream need not follow hundreds of levels."""
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises((ApiError, InvalidRequest)) as caught:
        check_request(
            ChatRequested(user_id="u", query="q", metadata=deep),
            settings(max_tokens_per_request=100),
            SHIPPED,
        )
    assert as_api_error(caught.value).error.param == "metadata"


def test_the_fingerprint_survives_the_wire() -> None:
    """The guardrail reads the record back and must see the very request that ingest registered."""
    event = _completion(temperature=1, metadata={"b": 1, "a": [1.5, 1e30]}, stop=["x"], tools=[TOOL])
    read_back = decode(encode(event), ChatRequested)
    assert fingerprint(read_back, "acme") == fingerprint(event, "acme")


def test_extra_parameters_are_let_through_by_name() -> None:
    """What the operator has named goes on with the others; what is not named is refused."""
    body = msgspec.json.encode(
        {"messages": [{"role": "user", "content": "hi"}], "guided_json": {}, "top_k": 5}
    )
    sent = decode_completion(body, ["guided_json", "top_k"])
    event = completion_request(sent, user_header=None, stream=False, deadline_ms=None)
    assert event.params == {"guided_json": {}, "top_k": 5}
    check_request(
        event, settings(max_tokens_per_request=100, extra_parameters=["guided_json", "top_k"]), SHIPPED
    )
    with pytest.raises((ApiError, InvalidRequest)) as caught:
        check_request(event, settings(max_tokens_per_request=100), SHIPPED)
    assert as_api_error(caught.value).error.param == "guided_json"
    with pytest.raises((ApiError, InvalidRequest)) as caught:
        decode_completion(body, ["top_k"])
    assert (as_api_error(caught.value).error.code, as_api_error(caught.value).error.param) == (
        "unknown_parameter",
        "guided_json",
    )

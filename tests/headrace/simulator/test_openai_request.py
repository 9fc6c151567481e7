"""Wrong Chat Completions requests: the status, the error object, and the exception the SDK makes of it."""

from typing import Any

import httpx
import openai
import pytest

from tests.headrace.simulator.conftest import Operator

_USER = {"role": "user", "content": "hello"}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CALLING = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "1"}
_OPEN_OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}
_TOOL = {"type": "function", "function": {"name": "f", "parameters": _OPEN_OBJECT}}


def _form(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}


_BAD_REQUESTS: dict[str, tuple[dict[str, Any], str]] = {
    # name: (changes of a good request, param)
    "no model": ({"model": ...}, "model"),
    "model not a string": ({"model": 3}, "model"),
    "no messages": ({"messages": ...}, "messages"),
    "messages empty": ({"messages": []}, "messages"),
    "messages a string": ({"messages": "hi"}, "messages"),
    "message a string": ({"messages": ["hi"]}, "messages[0]"),
    "no role": ({"messages": [{"content": "x"}]}, "messages[0].role"),
    "bad role": ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "null content": (
        {"messages": [{"role": "user", "content": None}]},
        "messages[0].content",
    ),
    "assistant says nothing": (
        {"messages": [_USER, {"role": "assistant", "content": None}]},
        "messages[1].content",
    ),
    "bad part": (
        {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
        "messages[0].content[0].type",
    ),
    "image for the system": (
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages[0].content[0].text",
    ),
    "unknown field": ({"colour": "red"}, "colour"),
    "unknown message field": (
        {"messages": [_USER | {"mood": 1}]},
        "messages[0].mood",
    ),
    "temperature high": ({"temperature": 2.5}, "temperature"),
    "temperature low": ({"temperature": -1}, "temperature"),
    "temperature a string": ({"temperature": "hot"}, "temperature"),
    "temperature a boolean": ({"temperature": True}, "temperature"),
    "top_p high": ({"top_p": 1.1}, "top_p"),
    "max_tokens zero": ({"max_tokens": 0}, "max_tokens"),
    "max_tokens a decimal": ({"max_tokens": 1.5}, "max_tokens"),
    "max_tokens too large": ({"max_tokens": 20_000}, "max_tokens"),
    "both limits": (
        {"max_tokens": 5, "max_completion_tokens": 5},
        "max_tokens",
    ),
    "stream a string": ({"stream": "yes"}, "stream"),
    "stream_options alone": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "five stops": ({"stop": list("abcde")}, "stop"),
    "n is 2": ({"n": 2}, "n"),
    "logprobs": ({"logprobs": True}, "logprobs"),
    "metadata not text": ({"metadata": {"a": 1}}, "metadata.a"),
    "tool message alone": ({"messages": [_USER, _RESULT]}, "messages.[1].role"),
    "tool call not answered": ({"messages": [_USER, _CALLING, _USER]}, "messages.[2].role"),
    "tool call at the end": ({"messages": [_USER, _CALLING]}, "messages.[2].role"),
    "tool answered twice": ({"messages": [_USER, _CALLING, _RESULT, _RESULT]}, "messages.[3].role"),
    "tool without a name": (
        {"tools": [{"type": "function", "function": {}}]},
        "tools[0].function.name",
    ),
    "tool name with a space": (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name",
    ),
    "tool with a schema that is none": (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "thing"}}}]},
        "tools[0].function.parameters",
    ),
    "tool_choice without tools": ({"tool_choice": "auto"}, "tool_choice"),
    "tool_choice of no tool": (
        {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice",
    ),
    "format without a schema": (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
    ),
    "unknown format": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "schema that is none": ({"response_format": _form({"type": "thing"})}, "response_format"),
    "schema without a value": (
        {"response_format": _form({"type": "integer", "minimum": 3, "maximum": 2})},
        "response_format",
    ),
}


@pytest.mark.parametrize("name", _BAD_REQUESTS)
def test_bad_request(gpt: openai.OpenAI, operator: Operator, name: str) -> None:
    """Each wrong request is a 400 that names the field, raises `BadRequestError` and is not billed."""
    changes, param = _BAD_REQUESTS[name]
    body = {"model": "gpt-4o", "messages": [_USER], **changes}
    body = {key: value for key, value in body.items() if value is not ...}
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param
    assert caught.value.request_id
    assert operator.invoice()["calls"] == 0


def test_schema_nested_too_deeply(gpt: openai.OpenAI) -> None:
    """A schema that is nested hundreds of levels deep is a 400, not a fault of the server."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(400):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    with pytest.raises(openai.BadRequestError):
        gpt.post(
            "/chat/completions",
            body={"model": "gpt-4o", "messages": [_USER], "response_format": _form(schema)},
            cast_to=object,
        )


def test_unknown_model(gpt: openai.OpenAI) -> None:
    """An unknown model is a 404 with the code `model_not_found`."""
    with pytest.raises(openai.NotFoundError) as caught:
        gpt.chat.completions.create(model="gpt-99", messages=[{"role": "user", "content": "x"}])
    assert caught.value.code == "model_not_found"


def test_context_length(gpt: openai.OpenAI) -> None:
    """A prompt beyond the context window, alone or with `max_tokens`, is refused."""
    for words, limit in ((130_000, None), (120_000, 16_000)):
        with pytest.raises(openai.BadRequestError) as caught:
            gpt.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "word " * words}], max_tokens=limit
            )
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


def test_keys(address: str, operator: Operator) -> None:
    """A missing or wrong key is a 401; the message does not repeat the key."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="wrong-key-123", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.embeddings.create(model="text-embedding-3-small", input="x")
        assert caught.value.code == "invalid_api_key"
        assert "key-123" not in str(caught.value)
    response = operator.http.post("/v1/chat/completions", json={})
    assert response.status_code == 401
    assert response.json()["error"]["code"] is None


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b"[" * 100_000, b'{"a":1}x'])
def test_not_json(operator: Operator, body: bytes) -> None:
    """A body that is not JSON is a 400, however it is broken."""
    response: httpx.Response = operator.http.post(
        "/v1/chat/completions", content=body, headers={"authorization": "Bearer sk-1"}
    )
    assert response.status_code == 400
    assert "parse the JSON body" in response.json()["error"]["message"]


def test_json_that_is_no_object(operator: Operator) -> None:
    """A body that is JSON but not an object is refused, for each endpoint."""
    for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/messages"):
        headers = {"authorization": "Bearer sk-1", "anthropic-version": "2023-06-01"}
        assert operator.http.post(path, json=[1], headers=headers).status_code == 400


def test_body_too_large(operator: Operator) -> None:
    """More than 32 MB is a 413."""
    response = operator.http.post(
        "/v1/chat/completions", content=b" " * (33 * 1024 * 1024), headers={"authorization": "Bearer sk-1"}
    )
    assert response.status_code == 413

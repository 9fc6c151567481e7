"""Reading bodies."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from ingest.native.schema import ChatBody
from ingest.openai.chat_schema import CompletionBody
from ingest.submit.http_message import decode_body, read_body
from streams.request_rules.chat import MAX_JSON_DEPTH, depth_exceeds
from streams.serving.responses import ApiError


def _request(*chunks: bytes, length: str | None = None) -> Request:
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    headers = [(b"content-length", length.encode("latin-1"))] if length else []
    return Request({"type": "http", "headers": headers}, receive)


async def test_a_body_is_read_in_chunks() -> None:
    """Up to the limit itself."""
    assert await read_body(_request(b"abc", b"de"), max_bytes=5) == b"abcde"


async def test_a_body_that_does_not_come_is_given_up() -> None:
    """With an error that says so, rather than a connection that is held for ever."""

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(ApiError) as caught:
        await read_body(Request({"type": "http", "headers": []}, receive), max_bytes=5, timeout_s=0.01)
    assert caught.value.status == 408
    assert caught.value.error.code == "request_timeout"


@pytest.mark.parametrize(
    "request_",
    [
        _request(b"abc", b"def", b"g"),
        _request(b"", length="6"),
        _request(b"", length="6" * 5_000),
        _request(b"abcdef", length="2"),
        _request(b"abcdef", length="\u00b2"),
    ],
)
async def test_a_long_body_is_refused(request_: Request) -> None:
    """With or without a content-length, and whatever that says."""
    with pytest.raises(ApiError) as caught:
        await read_body(request_, max_bytes=5)
    assert caught.value.status == 413
    assert caught.value.error.code == "request_too_large"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"query": NaN}', "invalid_json", None),
        (b'{"user_id": "ada", "query": "\xff"}', "invalid_json", None),
        (b'{"user_id": "ada", "query": "\\ud800"}', "invalid_json", None),
        (b'{"metadata": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b'{"query": 5}', "invalid_request", "query"),
        (b'{"messages": []}', "invalid_request", "messages"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}', "invalid_request", "messages[0].role"),
        (b'{"messages": [{"role": "user", "content": 5}]}', "invalid_request", "messages[0].content"),
        (b'{"messages": [{"content": "x"}]}', "missing_required_parameter", "messages[0].role"),
        (
            b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}',
            "unsupported_parameter",
            "messages[0].content[0].type",
        ),
        (b'{"temperature": 2.5}', "invalid_request", "temperature"),
        (b'{"stream": "yes"}', "invalid_request", "stream"),
        (b'{"max_tokens": 1.5}', "invalid_request", "max_tokens"),
        (b'{"seed": 99999999999999999999}', "invalid_request", "seed"),
        (b'{"deadline_ms": 0}', "invalid_request", "deadline_ms"),
        (b'{"colour": "red"}', "unknown_parameter", "colour"),
        (b'{"tenant": "zeta"}', "unknown_parameter", "tenant"),
        (b'{"tier": "enterprise"}', "unknown_parameter", "tier"),
        (b'{"accepted_at": "2020-01-01T00:00:00Z"}', "unknown_parameter", "accepted_at"),
        (b'{"request_id": "mine"}', "unknown_parameter", "request_id"),
    ],
)
def test_each_mistake_is_named_with_its_place(body: bytes, code: str, param: str | None) -> None:
    """Invalid JSON, wrong types, missing and unknown fields, and fields that are not the client's."""
    with pytest.raises(ApiError) as caught:
        decode_body(body, ChatBody)
    error = caught.value.error
    assert (caught.value.status, error.code, error.param) == (400, code, param)
    assert "$" not in error.message


def test_text_parts_are_content() -> None:
    """As OpenAI's clients may send them."""
    body = decode_body(
        b'{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}', CompletionBody
    )
    assert body.messages[0].text == "a"


@pytest.mark.parametrize(("levels", "exceeds"), [(MAX_JSON_DEPTH, False), (MAX_JSON_DEPTH + 1, True)])
def test_depth(levels: int, exceeds: bool) -> None:
    """Lists and objects count alike; the last allowed level is allowed."""
    value: object = 1
    for index in range(levels):
        value = [value] if index % 2 else {"a": value}
    assert depth_exceeds(value, MAX_JSON_DEPTH) is exceeds

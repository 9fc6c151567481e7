"""What compatible servers send that is no whole answer: a failed attempt, with a reason in words."""

import json

import pytest

from agents.providers.answers import body as answer_body
from agents.providers.faults import (
    AuthenticationFault,
    ConnectionLost,
    Malformed,
    Overloaded,
    ProviderFault,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFault,
    UnusableAnswer,
)
from agents.providers.provider import Answer
from tests.agents.providers.odd_servers import (
    STARTED,
    STOPPED,
    Bench,
    both,
    delta,
    ended,
    partial,
    piece,
    sse,
    tool,
    whole,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOP = delta(finish="stop")
CALLS = delta(finish="tool_calls")


FAILED: dict[str, tuple[str, bytes, type[ProviderFault], str]] = {
    "an error behind half of the text": (
        "openai",
        sse(delta("Hi"), delta(finish="error")),
        ServerFault,
        "'error'",
    ),
    "no finish reason": ("openai", sse(delta("Hi"), "[DONE]"), Malformed, "without a finish_reason"),
    "a stream that is cut": ("openai", sse(delta("Hi")), ConnectionLost, "before the answer did"),
    "an event that is cut": ("openai", sse(delta("Hi"))[:-9], ConnectionLost, "amid an event"),
    "text behind the finish reason": (
        "openai",
        sse(STOP, delta("Hi")),
        ConnectionLost,
        "before the answer did",
    ),
    "a finish reason of null": ("openai", json.dumps(whole(finish=None)).encode(), ConnectionLost, "before"),
    "one that nobody knows": (
        "openai",
        sse(delta("Hi", finish="tired\ud83d")),
        UnusableAnswer,
        "unknown finish_reason",
    ),
    "one that is no text": ("openai", sse(delta("Hi", finish=3)), Malformed, "`finish_reason`"),
    "tool calls that are none": ("openai", sse(CALLS), Malformed, "calls none"),
    "a tool call without a name": ("openai", sse(tool(id="t"), CALLS), Malformed, "without a name"),
    "a choice that says nothing": (
        "openai",
        b'{"choices": [{"finish_reason": "stop"}]}',
        Malformed,
        "nothing",
    ),
    "no choices": ("openai", b'{"choices": []}', ConnectionLost, "before the answer did"),
    "content that is a number": ("openai", sse(delta(3), STOP), Malformed, "`content`"),
    "choices that are a text": ("openai", b'{"choices": "none"}', Malformed, "`choices`"),
    "JSON that is no object": ("openai", b"[1, 2]", Malformed, "no object"),
    "JSON that is broken": ("openai", b'{"choices": [', Malformed, "not JSON"),
    "JSON that nests too deeply": ("openai", b"[" * 100_000, Malformed, "deeply"),
    "an HTML page": (
        "openai",
        b"<!DOCTYPE html><title>busy</title>",
        Malformed,
        "an HTML page (text/event-stream)",
    ),
    "plain words": ("openai", b"upstream connect error", Malformed, "something else"),
    "nothing": ("openai", b"", Malformed, "empty"),
    "another whole message": (
        "openai",
        sse(delta("Hello"), whole()),
        Malformed,
        "not what its pieces have said",
    ),
    "an error object": (
        "openai",
        b'{"error": {"message": "no GPU", "type": "server_error"}}',
        ServerFault,
        "no GPU",
    ),
    "an error that is a text": ("openai", b'{"error": "no GPU"}', ServerFault, "no GPU"),
    "an error with no choices": (
        "openai",
        b'{"choices": [], "error": {"message": "x", "code": 429}}',
        RateLimited,
        "x",
    ),
    "an error within the choice": (
        "openai",
        b'{"choices": [{"message": {}, "finish_reason": "stop", "error": {"code": 502, "message": "x"}}]}',
        ServerFault,
        "x",
    ),
    "an error amid the stream": (
        "openai",
        sse(delta("Hi"), {"error": {"code": "503", "message": "busy"}}),
        Overloaded,
        "busy",
    ),
    "an error event with a JSON text": (
        "openai",
        sse(delta("Hi")) + b'event: error\ndata: {"message": "bad", "type": "invalid_request_error"}\n\n',
        Refused,
        "bad",
    ),
    "an error event with words": (
        "openai",
        sse(delta("Hi")) + b"event: error\ndata: it broke\n\n",
        ServerFault,
        "it broke",
    ),
    "llama.cpp's error": (
        "openai",
        sse(delta("Hi")) + b'error: {"code": 400, "message": "bad", "type": "x"}\n\n',
        Refused,
        "bad",
    ),
    "vLLM's error": (
        "openai",
        b'{"object": "error", "message": "bad", "type": "BadRequestError", "code": 400, "param": null}',
        Refused,
        "bad",
    ),
    "TGI's error": ("openai", sse({"error": "full", "error_type": "overloaded"}), Overloaded, "full"),
    "Gemini's error": (
        "openai",
        b'[{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}]',
        RateLimited,
        "slow",
    ),
    "an error without a word": (
        "openai",
        b'{"error": {"type": ["x"], "code": {}, "message": 0}}',
        ServerFault,
        "no reason",
    ),
    "no credit": (
        "openai",
        sse({"error": {"code": "insufficient_quota", "message": "pay"}}),
        QuotaExhausted,
        "pay",
    ),
    "DeepSeek's lack": (
        "openai",
        sse(delta("Hi", finish="insufficient_system_resource")),
        Overloaded,
        "insufficient",
    ),
    "Anthropic's error": (
        "anthropic",
        sse(
            STARTED, piece("Hi"), {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
        ),
        Overloaded,
        "busy",
    ),
    "Anthropic's error, whole": (
        "anthropic",
        b'{"type": "error", "error": {"type": "authentication_error", "message": "key"}}',
        AuthenticationFault,
        "key",
    ),
    "no stop reason": ("anthropic", sse(STARTED, piece("Hi"), STOPPED), Malformed, "without a stop_reason"),
    "a message that is cut": (
        "anthropic",
        sse(STARTED, piece("Hi")),
        ConnectionLost,
        "before the answer did",
    ),
    "a stop reason that nobody knows": (
        "anthropic",
        sse(STARTED, ended("tired")),
        UnusableAnswer,
        "unknown finish_reason",
    ),
    "arguments of no call": ("anthropic", sse(STARTED, partial("{}"), ended()), Malformed, "had not begun"),
    "a second message": (
        "anthropic",
        sse(STARTED, piece("Hi"), STARTED, ended()),
        Malformed,
        "a second message",
    ),
    "a use that is none": ("anthropic", sse(STARTED, ended("tool_use")), Malformed, "calls none"),
    "another API's object": ("anthropic", json.dumps(whole()).encode(), Malformed, "not a message"),
    "another API's stream": ("anthropic", sse(delta("Hi"), STOP), ConnectionLost, "before the answer did"),
}


@pytest.mark.parametrize("name", FAILED)
async def test_what_is_not_understood_fails_with_a_reason(servers: Bench, name: str) -> None:
    """The fault says what it was, and what has been spent is known."""
    api, body, kind, words = FAILED[name]
    found = await both(servers, api, body)
    assert isinstance(found, ProviderFault), found
    assert type(found) is kind
    assert words in found.message
    assert found.message.encode()
    assert found.billed_usage is not None
    assert found.billed_usage.input_tokens == 3


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        ("302 Found", b"", ServerFault, "redirects"),
        ("400 Bad", b'{"error": {"message": "bad\\ud83d", "param": ["x"], "code": 7}}', Refused, "bad\ufffd"),
        ("400 Bad", b'{"detail": [{"msg": "no field"}]}', Refused, "no field"),
        ("418 Odd", b"short and stout", Refused, "short and stout"),
        ("429 Slow", b'"slow"', RateLimited, "slow"),
        ("500 Bad", b"\xff\xfe", ServerFault, "\ufffd"),
        ("502 Bad", b"<html>nginx</html>", ServerFault, "an HTML page"),
        ("503 Busy", b"", Overloaded, "no reason (HTTP 503)"),
        ("503 Busy", b"[" * 100_000, Overloaded, "[["),
        ("500 Bad", b'{"error": "' + b"x" * 1_000_000, ServerFault, "xxx"),
    ],
)
async def test_an_error_status_is_a_fault_whatever_its_body(
    servers: Bench, status: str, body: bytes, kind: type[ProviderFault], words: str
) -> None:
    """Words that can be told, and not too many; nothing is followed or billed."""
    for name in ("openai", "anthropic"):
        found = await both(
            servers, name, body, status=status, headers=[f"Location: {servers.server.base}/other"]
        )
        assert type(found) is kind
        assert words in found.message
        assert len(found.message) < 2_100


async def test_what_is_no_http_is_a_fault(servers: Bench) -> None:
    """The client for HTTP has exceptions of its own for that."""
    for head in (
        b"",
        b"HTTP/1.1 what\r\n\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ):
        servers.server.say_raw(head)
        for name in ("openai", "anthropic"):
            for stream in (False, True):
                assert isinstance(await servers.ask(name, stream=stream), ProviderFault)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_what_is_not_compressed_as_it_says_is_malformed(servers: Bench, encoding: str) -> None:
    """Bytes in an encoding that was not asked for, or in none, are no text."""
    found = await both(servers, "openai", b"\x0b\x02\x80abc\x03", headers=[f"Content-Encoding: {encoding}"])
    assert type(found) is Malformed
    assert found.billed_usage is not None


async def test_a_body_that_breaks_off_fails(servers: Bench) -> None:
    """But for one that breaks off behind its finish reason: that is paid for, and whole."""
    for name, pieces, end in (
        ("openai", [delta("Hi")], STOP),
        ("anthropic", [STARTED, piece("Hi")], ended()),
    ):
        found = await both(servers, name, sse(*pieces), chunked=True)
        assert isinstance(found, ConnectionLost)
        assert found.billed_usage is not None
        found = await both(servers, name, sse(*pieces, end), chunked=True)
        assert isinstance(found, Answer), found
        assert found.text == "Hi"


async def test_every_length_has_a_bound(servers: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without an end, and an answer that no record would hold."""
    endless = b"data: " + b"x" * 2_000_001
    with monkeypatch.context() as patch:
        patch.setattr(answer_body, "MAX_EVENT_BYTES", 2_000_000)
        found = await both(servers, "openai", endless)
    assert isinstance(found, Malformed)
    assert "longer than" in found.message
    long = delta("x" * 1_000_000)
    for body in (sse(*[long] * 5, STOP), json.dumps(whole("\0" * 900_000)).encode()):
        found = await both(servers, "openai", body)
        assert isinstance(found, UnusableAnswer)
        assert "the answer is longer than" in found.message

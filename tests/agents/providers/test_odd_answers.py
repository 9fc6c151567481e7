"""Answers of compatible servers that the original ones do not send: understood, streamed or whole.

Each body is sent to a call that is made whole and to one that streams.
"""

import gzip
import json

import pytest

from agents.providers.faults import ProviderFault, ServerFault
from agents.providers.provider import Answer
from streams.events import Usage
from tests.agents.providers.odd_servers import (
    STARTED,
    STOPPED,
    Bench,
    block,
    both,
    delta,
    ended,
    message,
    piece,
    sse,
    whole,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOP = delta(finish="stop")


ANSWERED = {
    "the documented stream": sse(delta("Hi "), delta("there"), STOP, "[DONE]"),
    "the documented completion": json.dumps(whole()).encode(),
    "carriage returns and line feeds": sse(delta("Hi "), delta("there"), STOP, "[DONE]", end="\r\n\r\n"),
    "carriage returns alone": sse(delta("Hi "), delta("there"), STOP, "[DONE]", end="\r\r"),
    "a byte order mark": b"\xef\xbb\xbf" + sse(delta("Hi there"), STOP, "[DONE]"),
    "a byte order mark before JSON": b"\xef\xbb\xbf" + json.dumps(whole()).encode(),
    "white space first": b"\n \r\n" + sse(delta("Hi there"), STOP),
    "no space behind the colon": sse(delta("Hi there"), STOP).replace(b"data: ", b"data:"),
    "comments and blank lines": b": ping\n\n\n\n" + sse(delta("Hi ")) + b":\n\n" + sse(delta("there"), STOP),
    "events without data": b"data:\n\nevent: ping\ndata: \n\n"
    + sse(delta("Hi "))
    + b"data\n\n"
    + sse(delta("there"), STOP),
    "ids, retries, names, fields that nobody knows": b"id: 1\nretry: 3\nx: y\nevent: chunk\n"
    + sse(delta("Hi there"), STOP),
    "no blank lines between events": sse(delta("Hi "), delta("there"), STOP, "[DONE]", end="\n"),
    "no blank line at the end": sse(delta("Hi there"), STOP).rstrip(b"\n"),
    "an event over several lines": b'data: {"choices": [{"delta":\ndata: {"content": "Hi there"}}]}\n\n'
    + sse(STOP),
    "JSON lines among the events": json.dumps(delta("Hi ")).encode().join([b": x\n", b"\n"])
    + sse(delta("there"), STOP),
    "a stream without [DONE]": sse(delta("Hi there"), STOP),
    "the finish reason with the last text": sse(delta("Hi "), delta("there", finish="stop")),
    "text behind [DONE]": sse(delta("Hi there"), STOP, "[DONE]", delta("?")),
    "no choices, once for filters, once for usage": sse(
        {"choices": [], "prompt_filter_results": [{}]},
        delta("Hi there"),
        STOP,
        {"choices": [], "usage": None},
    ),
    "a delta of null": sse({"choices": [{"delta": None}]}, delta("Hi there"), STOP),
    "a role alone, and null": sse(
        delta(role="assistant"), delta(None, tool_calls=None), delta("Hi there"), STOP
    ),
    "no index": sse({"choices": [{"delta": {"content": "Hi there"}, "finish_reason": "stop"}]}),
    "an index from 1, as a text": sse(
        {"choices": [{"index": "1", "delta": {"content": "Hi there"}}]}, STOP
    ).replace(b'"index": 0', b'"index": 1'),
    "two pieces of the one answer in a chunk": sse(
        {"choices": [{"index": 0, "delta": {"content": "Hi "}}, {"index": 0, "delta": {"content": "there"}}]},
        STOP,
    ),
    "a second answer that nobody asked for": sse(
        {
            "choices": [
                {"index": 0, "delta": {"content": "Hi there"}},
                {"index": 1, "delta": {"content": "Hello"}},
            ]
        },
        {"choices": [{"index": 1, "delta": {"content": "!"}, "finish_reason": "length"}]},
        STOP,
    ),
    "the message whole within a stream": sse(whole()),
    "the message whole behind its pieces": sse(delta("Hi "), whole()),
    "both, as it grows": sse(
        {"choices": [{"delta": {"content": "Hi "}, "message": {"content": "Hi "}}]},
        {
            "choices": [
                {"delta": {"content": "there"}, "message": {"content": "Hi there"}, "finish_reason": "stop"}
            ]
        },
    ),
    "content in parts": sse(
        delta([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
        delta([{"type": "text", "text": "Hi "}, "there"]),
        STOP,
    ),
    "whole content in parts": json.dumps(whole([{"type": "text", "text": "Hi there"}])).encode(),
    "reasoning beside it": sse(delta(reasoning_content="hm"), delta(reasoning="hm"), delta("Hi there"), STOP),
    "a finish reason twice": sse(delta("Hi there"), STOP, STOP),
    "empty finish reasons on the way": sse(delta("Hi ", finish=""), delta("there", finish=""), STOP),
    "the older completions": sse({"choices": [{"text": "Hi there", "finish_reason": "stop"}]}),
    "numbers that are none": sse(delta("Hi there", logprobs=float("-inf")), STOP).replace(
        b'"model"', b'"x": NaN, "usage": {"prompt_tokens": Infinity, "completion_tokens": 1e400}, "model"'
    ),
    "its own error field, empty": sse({**delta("Hi there"), "error": None}, STOP),
}


@pytest.mark.parametrize("name", ANSWERED)
async def test_what_differs_in_form_is_understood(servers: Bench, name: str) -> None:
    """The whole text, once, whatever the form; a piece at a time and cut anywhere it is the same."""
    body = ANSWERED[name]
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))] if len(body) < 300 else [body]):
        found = await both(servers, "openai", *pieces)
        assert isinstance(found, Answer), found
        assert (found.text, found.finish_reason, found.tool_calls) == ("Hi there", "stop", ())
        assert found.usage.estimated


MESSAGES = {
    "the documented stream": sse(STARTED, block(text=""), piece("Hi "), piece("there"), ended(), STOPPED),
    "the documented message": json.dumps(message([{"type": "text", "text": "Hi there"}])).encode(),
    "no names of events": sse(STARTED, block(text=""), piece("Hi there"), ended()).replace(
        b"event: ", b"x: "
    ),
    "names of events alone": b"event: message_start\ndata: {}\n\n"
    b'event: content_block_delta\ndata: {"delta": {"text": "Hi there"}}\n\n'
    b'event: message_delta\ndata: {"delta": {"stop_reason": "end_turn"}}\n\n',
    "no message_stop": sse(STARTED, block(text="Hi "), piece("there"), ended()),
    "text behind message_stop": sse(STARTED, block(text="Hi there"), ended(), STOPPED, piece("?")),
    "[DONE] behind it": sse(STARTED, block(text="Hi there"), ended(), "[DONE]"),
    "a block without a beginning": sse(STARTED, piece("Hi there"), ended(), STOPPED),
    "the same index for each block": sse(STARTED, block(text="Hi "), block(text="there"), ended()),
    "the text within the beginning": sse(
        {"type": "message_start", "message": message([{"type": "text", "text": "Hi there"}], None)}, ended()
    ),
    "the message whole within a stream": sse(message([{"type": "text", "text": "Hi there"}])),
    "content that is a text": json.dumps(message("Hi there")).encode(),
    "events, blocks and pieces that are new": sse(
        STARTED,
        {"type": "ping"},
        {"type": "news", "index": "who knows"},
        block(kind="thinking", thinking=""),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "x"}},
        block(1, text="Hi there"),
        block(2, kind="web_search_tool_result", content=[]),
        ended(),
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_messages_that_differ_in_form_are_understood(servers: Bench, name: str) -> None:
    """Anthropic's API likewise."""
    found = await both(servers, "anthropic", MESSAGES[name])
    assert isinstance(found, Answer), found
    assert (found.text, found.finish_reason, found.tool_calls) == ("Hi there", "stop", ())


@pytest.mark.parametrize(
    ("reason", "means"),
    [
        ("STOP", "stop"),
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("pause_turn", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("guardrail_intervened", "content_filter"),
    ],
)
async def test_finish_reasons_are_understood(servers: Bench, reason: str, means: str) -> None:
    """OpenAI's four words, whoever speaks; the text that came is told."""
    for name, body in (
        ("openai", sse(delta("Hi", finish=reason))),
        ("anthropic", json.dumps(message([{"type": "text", "text": "Hi"}], reason)).encode()),
    ):
        found = await both(servers, name, body)
        assert isinstance(found, Answer), found
        assert (found.text, found.finish_reason) == ("Hi", means)


async def test_an_empty_answer_is_one(servers: Bench) -> None:
    """Models do say nothing; the finish reason tells that it is all."""
    for name, body in (("openai", sse(STOP)), ("anthropic", sse(STARTED, ended()))):
        found = await both(servers, name, body)
        assert isinstance(found, Answer), found
        assert (found.text, found.finish_reason) == ("", "stop")


async def test_the_last_usage_counts_and_a_failed_answer_has_it(servers: Bench) -> None:
    """Some report it with every chunk; what a failed attempt has spent is what was reported."""
    spent = [{**STOP, "usage": {"prompt_tokens": 3, "completion_tokens": n}} for n in (1, 2)]
    found = await both(servers, "openai", sse(delta("Hi"), *spent))
    assert isinstance(found, Answer)
    assert found.usage == Usage(input_tokens=3, output_tokens=2)
    found = await both(servers, "openai", sse(delta("Hi", finish="error"), *spent))
    assert isinstance(found, ServerFault)
    assert found.billed_usage == Usage(input_tokens=3, output_tokens=2, estimated=True)


@pytest.mark.parametrize("encoding", ["gzip", "identity", "x-unknown"])
async def test_a_compressed_answer_is_read(servers: Bench, encoding: str) -> None:
    """As its header says; one that lies, or breaks off, is a fault."""
    body = sse(delta("Hi there"), STOP)
    packed = gzip.compress(body) if encoding == "gzip" else body
    found = await both(servers, "openai", packed, headers=[f"Content-Encoding: {encoding}"])
    assert isinstance(found, Answer), found
    assert found.text == "Hi there"
    found = await both(servers, "openai", packed[:-20], headers=["Content-Encoding: gzip"])
    assert isinstance(found, ProviderFault)

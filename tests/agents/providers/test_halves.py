"""Answers that come with halves of characters, over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agents.providers.anthropic.messages import AnthropicMessages
from agents.providers.openai.chat import OpenAIChat
from agents.providers.provider import Answer, Provider, ProviderCall, TextDelta, Timeouts
from tests.agents.providers.simulated import complete, streamed
from tests.fakes.envelopes import said
from tests.fakes.raw_provider import EVENTS, JSON, events, saying

CALL = ProviderCall(
    call_id="c-1",
    model="m",
    messages=(said("user", "hello"),),
    max_output_tokens=10,
    timeouts=Timeouts(connect_s=10, first_token_s=10, between_tokens_s=10, total_s=30),
    input_tokens=3,
)
USAGE = rb'"usage": {"prompt_tokens": 3, "completion_tokens": 4}'


def chunk(delta: bytes) -> bytes:
    return b'{"model": "m\\ud83d", "choices": [{"delta": {' + delta + b"}}]}"


def block(index: int, delta: bytes) -> bytes:
    return b'{"type": "content_block_delta", "index": %d, "delta": {%s}}' % (index, delta)


def tool(piece: bytes) -> bytes:
    return chunk(b'"tool_calls": [{"index": 0, ' + piece + b"}]")


OPENAI_STREAM = events(
    chunk(rb'"content": "Hi \ud83d"'),
    chunk(rb'"content": "\ude00!"'),
    tool(rb'"id": "c\ud83d", "function": {"name": "f\ud83d"}'),
    tool(rb'"function": {"arguments": "{\"a\": \"\ud83d"}'),
    tool(rb'"function": {"arguments": "\ude00\"}"}'),
    rb'{"choices": [{"delta": {"content": "\ud83d"}, "finish_reason": "stop"}], ' + USAGE + b"}",
    b"[DONE]",
)
OPENAI_WHOLE = (
    rb'{"model": "m\ud83d", "choices": [{"finish_reason": "stop", "message": {'
    rb'"content": "Hi \ud83d\ude00!\ud83d",'
    rb' "tool_calls": [{"id": "c\ud83d", "type": "function", "function": {"name": "f\ud83d", "arguments":'
    rb' "{\"a\": \"\ud83d\ude00\"}"}}]}}], ' + USAGE + b"}"
)
ANTHROPIC_STREAM = [
    b"event: " + kind + b"\n" + event
    for kind, event in zip(
        b"message_start content_block_start content_block_delta content_block_delta content_block_start"
        b" content_block_delta content_block_delta message_delta message_stop".split(),
        events(
            rb'{"type": "message_start", "message": {"model": "m\ud83d", "usage": {"input_tokens": 3}}}',
            rb'{"type": "content_block_start", "index": 0,'
            rb' "content_block": {"type": "text", "text": "Hi \ud83d"}}',
            block(0, rb'"type": "text_delta", "text": "\ude00!"'),
            block(0, rb'"type": "text_delta", "text": "\ud83d"'),
            rb'{"type": "content_block_start", "index": 1, "content_block":'
            rb' {"type": "tool_use", "id": "c\ud83d", "name": "f\ud83d", "input": {}}}',
            block(1, rb'"type": "input_json_delta", "partial_json": "{\"a\": \"\ud83d"'),
            block(1, rb'"type": "input_json_delta", "partial_json": "\ude00\"}"'),
            rb'{"type": "message_delta", "delta": {"stop_reason": "end_turn"},'
            rb' "usage": {"output_tokens": 4}}',
            rb'{"type": "message_stop"}',
        ),
        strict=True,
    )
]
ANTHROPIC_WHOLE = (
    rb'{"model": "m\ud83d", "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 4},'
    rb' "content": [{"type": "text", "text": "Hi \ud83d\ude00!\ud83d"}, {"type": "tool_use", "id": "c\ud83d",'
    rb' "name": "f\ud83d", "input": {"a": "\ud83d\ude00"}}]}'
)


@asynccontextmanager
async def openai(base: str) -> AsyncIterator[Provider]:
    provider = OpenAIChat(api_key="k", base_url=f"{base}/v1")
    yield provider
    await provider.aclose()


@asynccontextmanager
async def anthropic(base: str) -> AsyncIterator[Provider]:
    provider = AnthropicMessages(api_key="k", base_url=base)
    yield provider
    await provider.aclose()


def right(answer: Answer) -> None:
    """What both protocols have said, whole or in pieces."""
    assert (answer.text, answer.model, answer.finish_reason) == ("Hi 😀!\ufffd", "m\ufffd", "stop")
    (tool,) = answer.tool_calls
    assert (tool["id"], tool["function"]["name"]) == ("c\ufffd", "f\ufffd")
    assert tool["function"]["arguments"].replace(" ", "") == '{"a":"😀"}'
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 4)


@pytest.mark.parametrize(
    ("provider", "pieces"),
    [(openai, OPENAI_STREAM), (anthropic, ANTHROPIC_STREAM)],
    ids=["openai", "anthropic"],
)
async def test_a_streamed_answer_can_be_told(provider: Any, pieces: list[bytes]) -> None:
    """It was a 500 and a dead letter before, the money booked and the text lost."""
    async with saying(*pieces, content_type=EVENTS) as base, provider(base) as asked:
        found = [event async for event in streamed(asked, CALL)]
    answer = found[-1]
    assert isinstance(answer, Answer)
    right(answer)
    told = [event.text for event in found if isinstance(event, TextDelta)]
    assert "".join(told) == answer.text
    assert all(each.encode() for each in told)


@pytest.mark.parametrize(
    ("provider", "body"),
    [(openai, OPENAI_WHOLE), (anthropic, ANTHROPIC_WHOLE)],
    ids=["openai", "anthropic"],
)
async def test_a_whole_answer_can_be_told(provider: Any, body: bytes) -> None:
    """The same words as in pieces."""
    async with saying(body, content_type=JSON) as base, provider(base) as asked:
        right(await complete(asked, CALL))


@pytest.mark.parametrize("provider", [openai, anthropic])
async def test_a_providers_error_can_be_told(provider: Any) -> None:
    """Its words are in the log, and a refusal's reach the sender."""
    error = rb'{"type": "error", "error": {"type": "invalid_request_error", "message": "no \ud83d"}}'
    async with saying(error, content_type=JSON, status="400 Bad Request") as base, provider(base) as asked:
        with pytest.raises(Exception, match="no \ufffd") as caught:
            await complete(asked, CALL)
    assert str(caught.value).encode()

"""What of a request's parameters is in the call to a provider."""

import asyncio
from typing import Any

import msgspec
import pytest

from agents.llm.chat_calls import ChatCalls, ChatRequest, LlmSettings
from agents.providers.anthropic.messages import AnthropicMessages
from agents.providers.faults import ProviderFault
from agents.providers.openai.chat import OpenAIChat
from agents.providers.provider import ProviderCall, Timeouts
from agents.stores.journal_entries import Lease
from streams.model_catalogue import MODELS
from tests.agents.llm.fakes import FakeClock, FakeGuard, FakeSink, missed
from tests.agents.providers.simulated import complete

TIMEOUTS = Timeouts(connect_s=20, first_token_s=20, between_tokens_s=20, total_s=20)


def call_of(model: str, **request: Any) -> ProviderCall:
    calls = ChatCalls(
        {}, publisher=FakeSink(), guards=lambda _event: FakeGuard(), clock=FakeClock(), settings=LlmSettings()
    )
    asked = ChatRequest(
        missed(max_output_tokens=50, **request), Lease(request_id="r-1", record="misses:0:1", attempt=1)
    )
    return calls.new_call(asked, MODELS[model], call_id="c", timeouts=TIMEOUTS)


async def heard(provider: type[OpenAIChat | AnthropicMessages], call: ProviderCall) -> tuple[bytes, Any]:
    """The head and the body that a provider gets of a call."""
    found: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        found.extend((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = provider(api_key="k", base_url=address)
        with pytest.raises(ProviderFault):
            await complete(client, call)
        await client.aclose()
    return found[0], msgspec.json.decode(found[1])


async def test_the_names_of_betas_are_a_header_of_anthropics() -> None:
    """And of no one else's."""
    params = {"betas": ["context-1m-2025-08-07", "other-1"]}
    head, body = await heard(AnthropicMessages, call_of("claude-3-opus", params=params))
    assert b"anthropic-beta: context-1m-2025-08-07,other-1" in head
    assert "betas" not in body
    head, body = await heard(OpenAIChat, call_of("gpt-4o", params=params))
    assert b"anthropic-beta" not in head
    assert "betas" not in body


async def test_extra_parameters_go_on_as_they_are() -> None:
    """To whatever is behind OpenAI's API."""
    _, body = await heard(OpenAIChat, call_of("gpt-4o", params={"guided_json": {"type": "object"}}))
    assert body["guided_json"] == {"type": "object"}


async def test_thinking_goes_to_anthropic_and_leaves_the_temperature_alone() -> None:
    """Models that think take none but their own."""
    thinking = {"type": "enabled", "budget_tokens": 1024}
    _, body = await heard(AnthropicMessages, call_of("claude-3-opus", params={"thinking": thinking}))
    assert (body["thinking"], "temperature" in body) == (thinking, False)
    _, usual = await heard(AnthropicMessages, call_of("claude-3-opus"))
    assert "temperature" in usual


async def test_metadata_goes_with_what_openai_is_to_store() -> None:
    """It takes none otherwise."""
    _, kept = await heard(OpenAIChat, call_of("gpt-4o", params={"store": True}, metadata={"a": "b"}))
    _, not_kept = await heard(OpenAIChat, call_of("gpt-4o", metadata={"a": "b"}))
    assert (kept["metadata"], "metadata" in not_kept) == ({"a": "b"}, False)

"""A provider that is loaded in the background."""

import asyncio
import threading
from collections.abc import AsyncGenerator

import pytest

from agents.providers.deferred import Deferred
from agents.providers.port import Answer, Provider, ProviderCall, ProviderEvent, TextDelta, Timeouts
from streams.events import Usage
from streams.models import ProviderName

ANSWER = Answer(text="Hi", model="m", finish_reason="stop", usage=Usage())
CALL = ProviderCall(
    call_id="c",
    model="m",
    messages=(),
    max_output_tokens=1,
    timeouts=Timeouts(connect_s=1, first_token_s=1, between_tokens_s=1, total_s=1),
    input_tokens=1,
)


class Greeter:
    """Says hi."""

    name = ProviderName.OPENAI
    closed = 0

    async def complete(self, call: ProviderCall) -> Answer:
        assert call is CALL
        return ANSWER

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        assert call is CALL
        try:
            yield TextDelta("H")
            yield ANSWER
        finally:
            self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


async def test_the_first_calls_wait_until_it_is_loaded() -> None:
    """All of them; a call that is cancelled meanwhile does not end the loading."""
    go = threading.Event()

    def load() -> Provider:
        assert go.wait(10)
        return Greeter()

    provider = Deferred(ProviderName.OPENAI, load)
    first, second = (asyncio.ensure_future(provider.complete(CALL)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert not second.done()
    go.set()
    assert await second == ANSWER
    assert [event async for event in provider.stream(CALL)] == [TextDelta("H"), ANSWER]


async def test_closing_the_stream_closes_the_provider_s() -> None:
    """That is how a call is stopped."""
    greeter = Greeter()
    provider = Deferred(ProviderName.OPENAI, lambda: greeter)
    stream = provider.stream(CALL)
    assert await anext(stream) == TextDelta("H")
    await stream.aclose()
    assert greeter.closed == 1


async def test_a_fault_of_the_loading_is_every_caller_s() -> None:
    """A wrong address, say: it is no secret until the first request."""

    def load() -> Provider:
        raise ValueError("no such address")

    provider = Deferred(ProviderName.OPENAI, load)
    for _ in range(2):
        with pytest.raises(ValueError, match="no such address"):
            await provider.complete(CALL)

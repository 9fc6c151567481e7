"""A provider that is loaded in the background."""

import asyncio
import threading
from collections.abc import AsyncGenerator

import msgspec
import pytest
from structlog.testing import capture_logs

from agents.providers.adapters import DeferredProvider
from agents.providers.faults import ClientNotLoaded, ProviderTimeout
from agents.providers.provider import Answer, Provider, ProviderCall, ProviderEvent, TextDelta, Timeouts
from streams.events import Usage
from streams.model_catalogue import ProviderName
from tests.agents.providers.simulated import complete, streamed

ANSWER = Answer(text="Hi", model="m", finish_reason="stop", usage=Usage())
CALL = ProviderCall(
    call_id="c",
    model="m",
    messages=(),
    max_output_tokens=1,
    timeouts=Timeouts(connect_s=10, first_token_s=10, between_tokens_s=10, total_s=10),
    input_tokens=1,
)


class Greeter:
    """Says hi."""

    name = ProviderName.OPENAI
    closed = 0

    async def answer(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        try:
            if call.stream:
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

    provider = DeferredProvider(ProviderName.OPENAI, load)
    first, second = (asyncio.ensure_future(complete(provider, CALL)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert not second.done()
    go.set()
    assert await second == ANSWER
    assert [event async for event in streamed(provider, CALL)] == [TextDelta("H"), ANSWER]


async def test_closing_the_stream_closes_the_provider_s() -> None:
    """That is how a call is stopped."""
    greeter = Greeter()
    provider = DeferredProvider(ProviderName.OPENAI, lambda: greeter)
    stream = streamed(provider, CALL)
    assert await anext(stream) == TextDelta("H")
    await stream.aclose()
    assert greeter.closed == 1


class Loads:
    """A load that fails so often, and a clock that stands until it is told."""

    def __init__(self, *, failing: int) -> None:
        self.now = 0.0
        self.count = 0
        self._failing = failing

    def __call__(self) -> Provider:
        self.count += 1
        if self.count <= self._failing:
            raise ImportError("no module named anthropic")
        return Greeter()

    def provider(self) -> DeferredProvider:
        """Begin with the first load."""
        return DeferredProvider(ProviderName.ANTHROPIC, self, monotonic=lambda: self.now)


async def test_a_load_that_fails_is_a_fault_of_the_provider() -> None:
    """So that another one is asked: no request is lost for it. Each caller gets a fault of its own."""
    provider = Loads(failing=1).provider()
    with pytest.raises(ClientNotLoaded, match=r"cannot be loaded \(ImportError: no module") as first:
        await complete(provider, CALL)
    with pytest.raises(ClientNotLoaded) as second:
        await anext(streamed(provider, CALL))
    assert first.value is not second.value
    await provider.aclose()


async def test_a_load_that_fails_is_tried_again_by_later_calls() -> None:
    """After a second, then after two more, and not by the calls in between; then it serves."""
    loads = Loads(failing=2)
    provider = loads.provider()
    seen = []
    for now in (0.0, 0.9, 1.0, 2.9):
        loads.now = now
        with pytest.raises(ClientNotLoaded):
            await complete(provider, CALL)
        seen.append(loads.count)
    assert seen == [1, 1, 2, 2]
    loads.now = 3.0
    both = await asyncio.gather(complete(provider, CALL), complete(provider, CALL))
    assert both == [ANSWER, ANSWER]
    assert loads.count == 3


async def test_a_load_that_fails_is_logged_once() -> None:
    """With its reason and its stack; and once more when it has come right."""
    loads = Loads(failing=3)
    with capture_logs() as logs:
        provider = loads.provider()
        for now in (0.0, 1.0, 3.0):
            loads.now = now
            with pytest.raises(ClientNotLoaded):
                await complete(provider, CALL)
        loads.now = 7.0
        await complete(provider, CALL)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("provider.not_loaded", "error"),
        ("provider.loaded_after_all", "info"),
    ]
    assert isinstance(logs[0]["exc_info"], ImportError)


async def test_a_load_that_hangs_is_waited_for_no_longer_than_a_silent_provider() -> None:
    """Others can be asked meanwhile; the load goes on, and serves later calls."""
    go = threading.Event()

    def load() -> Provider:
        assert go.wait(10)
        return Greeter()

    provider = DeferredProvider(ProviderName.OPENAI, load)
    timeouts = msgspec.structs.replace(CALL.timeouts, first_token_s=0.01)
    with pytest.raises(ProviderTimeout):
        await complete(provider, msgspec.structs.replace(CALL, timeouts=timeouts))
    go.set()
    assert await complete(provider, CALL) == ANSWER

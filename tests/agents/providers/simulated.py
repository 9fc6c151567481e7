"""The provider simulator on a real socket, and calls to it."""

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import msgspec

from agents.providers.anthropic.messages import AnthropicMessages
from agents.providers.openai.chat import OpenAIChat
from agents.providers.provider import (
    Answer,
    Provider,
    ProviderCall,
    ProviderEvent,
    TextDelta,
    Timeouts,
    UsageKnown,
)
from agents.providers.usage import count_input
from headrace.simulator.app import build_server, create_app, listen
from streams.events import Message, Usage

MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-20250514"}
TEXT = "one two three four five six"


@contextmanager
def running_simulator() -> Iterator[str]:
    """Run the simulator in a thread, and yield its address."""
    listener = listen("127.0.0.1", 0)
    server = build_server(create_app(seed=7))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive()


class Operator:
    """The operator's side of the simulator."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def behave(self, **behaviour: Any) -> None:
        (await self._http.put("/behaviour", json=behaviour)).raise_for_status()

    async def fault(self, kind: str, **settings: Any) -> None:
        """Let every call that answers `TEXT` have a fault."""
        rule = {"kind": kind, "rate": 1, **settings}
        await self.behave(faults=[rule], answers=[{"text": TEXT}])

    async def reset(self) -> None:
        (await self._http.delete("/behaviour")).raise_for_status()
        (await self._http.delete("/invoice")).raise_for_status()

    async def items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self._http.get("/invoice")).json()["items"]
        return items

    async def total_usd(self) -> Decimal:
        return Decimal((await self._http.get("/invoice")).json()["total_usd"])


def provider_at(address: str, name: str, key: str = "sk-ant-test") -> Provider:
    """The provider of that name, at the simulator."""
    if name == "openai":
        return OpenAIChat(api_key=key, base_url=f"{address}/v1")
    return AnthropicMessages(api_key=key, base_url=address)


def call_to(provider: Provider, *, text: str = "Tell me about turbines", **settings: Any) -> ProviderCall:
    """A call with a prompt of instructions and a question."""
    messages = (Message(role="system", content="Be brief."), Message(role="user", content=text))
    call = ProviderCall(
        call_id="call-1",
        model=MODELS["openai" if isinstance(provider, OpenAIChat) else "anthropic"],
        messages=messages,
        max_output_tokens=300,
        timeouts=Timeouts(connect_s=5, first_token_s=5, between_tokens_s=5, total_s=10),
        temperature=0.7,
    )
    call = msgspec.structs.replace(call, **settings)
    return msgspec.structs.replace(call, input_tokens=count_input(call.messages, call.tools))


class Streamed(msgspec.Struct):
    """What a stream brought."""

    text: str = ""
    deltas: int = 0
    known: Usage | None = None
    answer: Answer | None = None


async def read(provider: Provider, call: ProviderCall, into: Streamed | None = None) -> Streamed:
    """Read a stream to its end; `into` keeps what came before a fault."""
    got = into or Streamed()
    async for event in events(provider, call):
        match event:
            case TextDelta(text):
                got.text += text
                got.deltas += 1
            case UsageKnown(usage):
                got.known = usage
            case Answer():
                got.answer = event
    return got


async def events(provider: Provider, call: ProviderCall) -> AsyncIterator[Any]:
    async for event in streamed(provider, call):
        yield event


async def complete(provider: Provider, call: ProviderCall) -> Answer:
    """Return the answer to a call that is made whole: one event."""
    (answer,) = [event async for event in provider.answer(msgspec.structs.replace(call, stream=False))]
    assert isinstance(answer, Answer)
    return answer


def streamed(provider: Provider, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
    """Return the events of a call that is streamed."""
    return provider.answer(msgspec.structs.replace(call, stream=True))

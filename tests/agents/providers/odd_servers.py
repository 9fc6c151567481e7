"""Both adapters at a server that says anything, and short forms of what servers say."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from agents.providers.anthropic.messages import AnthropicMessages
from agents.providers.faults import ProviderFault
from agents.providers.openai.chat import OpenAIChat
from agents.providers.provider import Answer, Provider, ProviderCall, TextDelta, Timeouts
from tests.agents.providers.simulated import complete, streamed
from tests.fakes.envelopes import said
from tests.fakes.raw_provider import RawProvider, raw_provider

CALL = ProviderCall(
    call_id="c-1",
    model="gpt-4o",
    messages=(said("user", "hello"),),
    max_output_tokens=10,
    timeouts=Timeouts(connect_s=30, first_token_s=30, between_tokens_s=30, total_s=60),
    input_tokens=3,
)
Ended = Answer | ProviderFault


class Bench(msgspec.Struct, frozen=True):
    """The server, and both adapters pointed at it."""

    server: RawProvider
    providers: dict[str, Provider]

    async def ask(self, name: str, *, stream: bool, call: ProviderCall = CALL) -> Ended:
        """Return the answer, or the fault; what a stream tells is what its answer says."""
        provider = self.providers[name]
        try:
            if not stream:
                return await complete(provider, call)
            told, answer = "", None
            async for event in streamed(provider, call):
                if isinstance(event, TextDelta):
                    told += event.text
                elif isinstance(event, Answer):
                    answer = event
        except ProviderFault as fault:
            return fault
        assert answer is not None
        assert answer.text == told
        return answer


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Run the server and both adapters."""
    async with raw_provider() as server:
        providers: dict[str, Provider] = {
            "openai": OpenAIChat(api_key="k", base_url=f"{server.base}/v1"),
            "anthropic": AnthropicMessages(api_key="k", base_url=server.base),
        }
        yield Bench(server, providers)
        for provider in providers.values():
            await provider.aclose()


def sse(*values: Any, end: str = "\n\n") -> bytes:
    """A stream of events; texts are data as they are, and events of Anthropic have their name."""
    return "".join(_event(value, end) for value in values).encode()


def _event(value: Any, end: str) -> str:
    data = value if isinstance(value, str) else json.dumps(value)
    name = value.get("type") if isinstance(value, dict) else None
    return f"event: {name}{end[: len(end) // 2]}data: {data}{end}" if name else f"data: {data}{end}"


def delta(content: Any = None, finish: Any = None, **fields: Any) -> dict[str, Any]:
    """A chunk of Chat Completions; fields are the delta's."""
    said = fields if content is None else {"content": content, **fields}
    return {"model": "m", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def tool(**piece: Any) -> dict[str, Any]:
    """A chunk with a piece of a tool call."""
    return delta(tool_calls=[piece])


def whole(content: Any = "Hi there", finish: Any = "stop", **fields: Any) -> dict[str, Any]:
    """A chat completion; fields are the message's."""
    message = {"role": "assistant", "content": content, **fields}
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


STARTED = {"type": "message_start", "message": {"model": "m", "content": [], "usage": {"input_tokens": 3}}}
STOPPED = {"type": "message_stop"}


def block(index: int = 0, kind: str = "text", **fields: Any) -> dict[str, Any]:
    """The beginning of one of Anthropic's blocks."""
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def piece(text: str, index: int = 0) -> dict[str, Any]:
    """A piece of a text block."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}}


def partial(arguments: Any, index: int = 0) -> dict[str, Any]:
    """A piece of a tool call's arguments."""
    said = {"type": "input_json_delta", "partial_json": arguments}
    return {"type": "content_block_delta", "index": index, "delta": said}


def ended(reason: Any = "end_turn", usage: Any = None) -> dict[str, Any]:
    """Why the model has stopped, and what it has spent."""
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage or {"output_tokens": 4}}


def message(content: Any, reason: Any = "end_turn", **fields: Any) -> dict[str, Any]:
    """A whole message."""
    usage = {"input_tokens": 3, "output_tokens": 4}
    return {
        "type": "message",
        "model": "m",
        "content": content,
        "stop_reason": reason,
        "usage": usage,
        **fields,
    }


async def both(servers: Bench, name: str, *body: bytes, **head: Any) -> Ended:
    """Return how a call ends whose answer is the body: whole and streamed, it must be the same."""
    servers.server.say(*body, **head)
    found = [await servers.ask(name, stream=stream) for stream in (False, True)]
    if isinstance(found[0], Answer):
        assert found[0] == found[1]
    else:
        assert type(found[0]) is type(found[1])
        assert found[0].message == found[1].message
    return found[0]

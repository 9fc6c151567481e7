"""Whatever bytes a provider sends, the stage ends in one of answered, refused and degraded, and books it.

With both real adapters, over HTTP, and the real guard of streamed answers.
"""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.checks.answer_guard import StreamingGuard
from agents.llm.chat_calls import LlmSettings
from agents.llm.stage import LlmStage
from agents.paid_calls.paid_request import CallPorts
from agents.providers.provider import Answer
from streams.codec import decode, encode
from streams.events import Completed, OutcomeReached, Status
from tests.agents.llm.any_bytes import Documented, Said, answers, documented
from tests.agents.llm.fakes import FakeClock, FakeJournal, FakeSink, delivery, missed, never
from tests.agents.providers.odd_servers import Bench, bench
from tests.fakes.providers import clients_of

MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-20250514"}
FINISHES = {"stop", "length", "tool_calls", "content_filter"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[asyncio.Runner, Bench]]:
    """The server and the adapters, and the loop that they live in."""
    with asyncio.Runner() as runner:
        context = bench()
        yield runner, runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


async def outcome(servers: Bench, said: Said, *, stream: bool) -> tuple[Completed | OutcomeReached, FakeSink]:
    """Send one request through the stage, to a provider that says this; what it sends can be read again."""
    head = [f"{name}: {value}" for name, value in said.headers[1:]]
    servers.server.say(
        *said.pieces,
        content_type=said.headers[0][1],
        status=f"{said.status} Said",
        headers=head,
        chunked=said.cut,
    )
    sink = FakeSink()
    stage = LlmStage(
        providers=clients_of(servers.providers),
        publisher=sink,
        guards=lambda _event: StreamingGuard(),
        settings=LlmSettings(provider_tries=1),
        ports=CallPorts(journal=FakeJournal(), clock=FakeClock(), pause=never),
    )
    (sent,) = await stage.handle(delivery(missed(model=MODELS[said.api], stream=stream)))
    assert isinstance(sent.value, Completed | OutcomeReached)
    assert decode(encode(sent.value), type(sent.value)) == sent.value
    return sent.value, sink


@settings(max_examples=120, derandomize=True)
@given(said=answers(), stream=st.booleans())
def test_every_sequence_of_bytes_ends_in_one_outcome(
    served: tuple[asyncio.Runner, Bench], said: Said, stream: bool
) -> None:
    """Never an exception (which would be a dead letter), never a text or a charge that cannot be told."""
    runner, servers = served
    before = servers.server.asked
    found, sink = runner.run(outcome(servers, said, stream=stream))
    (call,) = found.envelope.calls
    assert servers.server.asked == before + 1
    assert call.cost_usd >= 0
    told = "".join(decode(encode(emit.value), type(emit.value)).text for emit in sink.emits)
    if isinstance(found, Completed):
        assert said.status == 200
        assert call.error is None
        assert found.completion.finish_reason in FINISHES
        assert call.usage == found.completion.usage
        assert (
            not stream
            or found.completion.finish_reason == "content_filter"
            or told == found.completion.content
        )
    else:
        assert found.status in {Status.FAILED, Status.DEGRADED}
        assert call.error
        assert said.status != 200 or call.usage.input_tokens > 0


@settings(max_examples=60, derandomize=True)
@given(said=documented(), stream=st.booleans())
def test_a_documented_answer_is_understood_wherever_it_is_cut(
    served: tuple[asyncio.Runner, Bench], said: Documented, stream: bool
) -> None:
    """All of its text and every tool call, in any framing."""
    runner, servers = served
    servers.server.say(*said.pieces)
    found = runner.run(servers.ask(said.api, stream=stream))
    assert isinstance(found, Answer), found
    assert (found.text, len(found.tool_calls)) == (said.text, said.calls)
    assert all(call["function"]["arguments"] == '{"a": 1}' for call in found.tool_calls)

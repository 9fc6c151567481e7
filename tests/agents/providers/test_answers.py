"""Answers of both providers over HTTP, whole and streamed."""

import asyncio
from contextlib import aclosing

import msgspec
import pytest

from agents.providers.provider import Answer, Provider, TextDelta, Timeouts
from streams.events import Message
from streams.model_catalogue import MODELS as CATALOGUE
from tests.agents.providers.simulated import TEXT, Operator, call_to, complete, read, streamed

TOOL = {
    "type": "function",
    "function": {
        "name": "turbine_speed",
        "description": "The speed of turbines",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}


async def ask(provider: Provider, *, stream: bool, **settings: object) -> Answer:
    call = call_to(provider, **settings)
    if not stream:
        return await complete(provider, call)
    got = await read(provider, call)
    assert got.answer is not None
    assert got.text == got.answer.text
    return got.answer


@pytest.mark.parametrize("stream", [False, True])
async def test_the_answer_and_its_usage_are_the_providers(
    provider: Provider, operator: Operator, stream: bool
) -> None:
    """Text, finish reason and model come through; the price of the usage is what the invoice says."""
    answer = await ask(provider, stream=stream)
    assert answer.text
    assert answer.finish_reason == "stop"
    (item,) = await operator.items()
    usage = answer.usage
    assert (item["input_tokens"], item["output_tokens"]) == (usage.input_tokens, usage.output_tokens)
    assert item["client_request_id"] == "call-1"
    assert item["stream"] is stream
    model = CATALOGUE[item["model"]]
    cost = model.cost_usd(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    assert f"{cost:.9f}" == item["usd"]


@pytest.mark.parametrize("stream", [False, True])
async def test_cached_input_is_part_of_the_input(
    provider: Provider, operator: Operator, stream: bool
) -> None:
    """Anthropic counts it apart; in our terms the input includes it, as the invoice does."""
    await operator.behave(cached_input_share=0.5)
    answer = await ask(provider, stream=stream, text="word " * 3000)
    (item,) = await operator.items()
    assert answer.usage.cached_tokens == item["cached_tokens"] > 1000
    assert answer.usage.input_tokens == item["input_tokens"] > answer.usage.cached_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_answer_says_so(provider: Provider, stream: bool) -> None:
    """Both providers' word for it becomes `length`."""
    answer = await ask(provider, stream=stream, max_output_tokens=3)
    assert answer.finish_reason == "length"
    assert answer.usage.output_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_sequence_ends_the_answer(provider: Provider, operator: Operator, stream: bool) -> None:
    """Whoever answers."""
    await operator.behave(answers=[{"text": TEXT}])
    answer = await ask(provider, stream=stream, stop=("four",))
    assert answer.text == "one two three "
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls_come_in_openais_shape(provider: Provider, stream: bool) -> None:
    """Name and arguments, whoever made them, and the finish reason that goes with them."""
    answer = await ask(provider, stream=stream, tools=(TOOL,), tool_choice="required")
    (tool,) = answer.tool_calls
    assert tool["type"] == "function"
    assert tool["id"]
    assert tool["function"]["name"] == "turbine_speed"
    assert isinstance(msgspec.json.decode(tool["function"]["arguments"])["name"], str)
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "calls"),
    [("none", 0), ("auto", 1), ({"type": "function", "function": {"name": "turbine_speed"}}, 1)],
)
async def test_tool_choice_is_obeyed(
    provider: Provider, stream: bool, choice: str | dict[str, object], calls: int
) -> None:
    """The question is about turbines, so `auto` calls the tool; `none` forbids it."""
    answer = await ask(provider, stream=stream, tools=(TOOL,), tool_choice=choice)
    assert len(answer.tool_calls) == calls


async def test_a_conversation_with_parallel_tool_results_is_understood(provider: Provider) -> None:
    """Two results in a row answer the two calls of one turn."""
    calls = tuple(
        {
            "id": f"t{n}",
            "type": "function",
            "function": {"name": "turbine_speed", "arguments": '{"name": "a"}'},
        }
        for n in (1, 2)
    )
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="developer", content="Use metric units."),
        Message(role="user", content="How fast are they?"),
        Message(role="assistant", content=None, tool_calls=calls),
        Message(role="tool", tool_call_id="t1", content="1500 rpm"),
        Message(role="tool", tool_call_id="t2", content="3000 rpm"),
    )
    answer = await complete(provider, call_to(provider, messages=messages, tools=(TOOL,)))
    assert "rpm" in answer.text
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_every_parameter_is_taken(provider: Provider, stream: bool) -> None:
    """The strict simulator refuses what the real APIs would refuse."""
    answer = await ask(
        provider,
        stream=stream,
        temperature=1.7,
        top_p=0.9,
        seed=4,
        user="0" * 32,
        stop=("@@@",),
        tools=(TOOL,),
        tool_choice="auto",
    )
    assert answer.usage.output_tokens > 0


async def test_openai_gets_the_response_format_itself(address: str, operator: Operator) -> None:
    """The answer conforms to the schema because the provider makes it so."""
    del operator
    from tests.agents.providers.simulated import provider_at

    provider = provider_at(address, "openai")
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": schema}}
    answer = await complete(provider, call_to(provider, response_format=form))
    assert set(msgspec.json.decode(answer.text)) == {"city"}
    await provider.aclose()


async def test_many_answers_are_open_at_once(provider: Provider, operator: Operator) -> None:
    """No pool of connections is smaller than what a worker has in flight: each answer begins at once."""
    await operator.behave(latency={"tokens_per_second": 1}, answers=[{"text": TEXT}])
    all_begun = asyncio.Barrier(130)
    patient = Timeouts(connect_s=60, first_token_s=60, between_tokens_s=60, total_s=90)

    async def one() -> None:
        async with aclosing(streamed(provider, call_to(provider, timeouts=patient))) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    await all_begun.wait()
                    return

    async with asyncio.timeout(90):
        await asyncio.gather(*(one() for _ in range(all_begun.parties)))

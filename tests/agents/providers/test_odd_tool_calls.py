"""Tool calls of compatible servers that the original ones do not send: understood, streamed or whole."""

import json

import pytest

from agents.providers.provider import Answer
from tests.agents.providers.odd_servers import (
    STARTED,
    Bench,
    block,
    both,
    delta,
    ended,
    message,
    partial,
    sse,
    tool,
    whole,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOP = delta(finish="stop")
CALLS = delta(finish="tool_calls")
NUMBERS = {"a": 1, "b": [2]}
TEXT = json.dumps(NUMBERS)


ONE_CALL = {
    "the documented pieces": sse(
        tool(index=0, id="t", type="function", function={"name": "f", "arguments": ""}),
        tool(index=0, function={"arguments": TEXT[:5]}),
        tool(index=0, function={"arguments": TEXT[5:]}),
        CALLS,
    ),
    "no index": sse(
        tool(id="t", function={"name": "f", "arguments": TEXT[:5]}),
        tool(function={"arguments": TEXT[5:]}),
        CALLS,
    ),
    "id and name with every piece": sse(
        tool(index=0, id="t", function={"name": "f", "arguments": TEXT[:5]}),
        tool(index=0, id="t", function={"name": "f", "arguments": TEXT[5:]}),
        CALLS,
    ),
    "arguments as an object": sse(tool(index=0, id="t", function={"name": "f", "arguments": NUMBERS}), CALLS),
    "the tool call as an object": json.dumps(
        whole(None, "tool_calls", tool_calls={"id": "t", "function": {"name": "f", "arguments": NUMBERS}})
    ).encode(),
    "the message whole": sse(
        whole("", "tool_calls", tool_calls=[{"id": "t", "function": {"name": "f", "arguments": TEXT}}])
    ),
    "the function call of older servers": sse(
        delta(function_call={"name": "f", "arguments": TEXT[:5]}),
        delta(function_call={"arguments": TEXT[5:]}),
        delta(finish="function_call"),
    ),
    "no id": json.dumps(
        whole(None, "tool_calls", tool_calls=[{"function": {"name": "f", "arguments": TEXT}}])
    ).encode(),
    "the finish reason of older servers": sse(
        tool(index=0, id="t", function={"name": "f", "arguments": TEXT}), delta(finish="function_call")
    ),
}


@pytest.mark.parametrize("name", ONE_CALL)
async def test_a_tool_call_that_differs_in_form_is_understood(servers: Bench, name: str) -> None:
    """One call, with its name once and its arguments as a text."""
    found = await both(servers, "openai", ONE_CALL[name])
    assert isinstance(found, Answer), found
    (call,) = found.tool_calls
    assert call["id"] == ("call_c1_0" if name.startswith(("no id", "the function call")) else "t")
    assert (call["type"], call["function"]["name"]) == ("function", "f")
    assert json.loads(call["function"]["arguments"]) == NUMBERS
    assert found.finish_reason == "tool_calls"


TWO_CALLS = {
    "one index for both": sse(
        tool(index=0, id="t1", function={"name": "f", "arguments": '{"n": 1}'}),
        tool(index=0, id="t2", function={"name": "f", "arguments": '{"n": 2}'}),
        CALLS,
    ),
    "neither index nor id": sse(
        delta(tool_calls=[{"function": {"name": "f", "arguments": {"n": n}}} for n in (1, 2)]), CALLS
    ),
    "one id for both": json.dumps(
        whole(
            None,
            "tool_calls",
            tool_calls=[
                {"index": n, "id": "t", "function": {"name": "f", "arguments": json.dumps({"n": n})}}
                for n in (1, 2)
            ],
        )
    ).encode(),
    "pieces that alternate": sse(
        tool(index=0, id="t1", function={"name": "f", "arguments": '{"n"'}),
        tool(index=1, id="t2", function={"name": "f", "arguments": '{"n"'}),
        tool(index=0, function={"arguments": ": 1}"}),
        tool(index=1, function={"arguments": ": 2}"}),
        CALLS,
    ),
}


@pytest.mark.parametrize("name", TWO_CALLS)
async def test_two_tool_calls_stay_two(servers: Bench, name: str) -> None:
    """Each with an id of its own, which results can name."""
    found = await both(servers, "openai", TWO_CALLS[name])
    assert isinstance(found, Answer), found
    assert [json.loads(call["function"]["arguments"]) for call in found.tool_calls] == [{"n": 1}, {"n": 2}]
    assert len({call["id"] for call in found.tool_calls}) == 2
    assert all(call["id"] for call in found.tool_calls)


USES = {
    "the documented pieces": sse(
        STARTED, block(kind="tool_use", id="t", name="f", input={}), partial(TEXT), ended("tool_use")
    ),
    "the input within the beginning": sse(
        STARTED, block(kind="tool_use", id="t", name="f", input=NUMBERS), ended("tool_use")
    ),
    "both": sse(
        STARTED, block(kind="tool_use", id="t", name="f", input=NUMBERS), partial(TEXT), ended("tool_use")
    ),
    "the input as one piece that is an object": sse(
        STARTED, block(kind="tool_use", id="t", name="f"), partial(NUMBERS), ended("tool_use")
    ),
    "whole": json.dumps(
        message([{"type": "tool_use", "id": "t", "name": "f", "input": NUMBERS}], "tool_use")
    ).encode(),
}


@pytest.mark.parametrize("name", USES)
async def test_a_tool_use_that_differs_in_form_is_understood(servers: Bench, name: str) -> None:
    """Anthropic's API likewise."""
    found = await both(servers, "anthropic", USES[name])
    assert isinstance(found, Answer), found
    (call,) = found.tool_calls
    assert (call["id"], call["function"]["name"]) == ("t", "f")
    assert json.loads(call["function"]["arguments"]) == NUMBERS

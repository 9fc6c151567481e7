"""What is read of the providers' JSON: leniently where they differ, strictly where it would be wrong."""

import msgspec
import pytest

from agents.providers.anthropic_assembly import AnthropicAssembly
from agents.providers.anthropic_assembly import read_answer as read_message
from agents.providers.faults import Malformed
from agents.providers.openai_assembly import OpenAIAssembly, read_answer
from agents.providers.port import ProviderCall, ProviderEvent, TextDelta, Timeouts, UsageKnown
from streams.events import Usage

CALL = ProviderCall(
    call_id="call-1",
    model="gpt-4o",
    messages=(),
    max_output_tokens=10,
    timeouts=Timeouts(connect_s=1, first_token_s=1, between_tokens_s=1, total_s=1),
    input_tokens=7,
)


def fed(assembly: OpenAIAssembly | AnthropicAssembly, *data: object) -> list[ProviderEvent]:
    return [event for each in data for event in assembly.feed(each)]


def chunk(**choice: object) -> dict[str, object]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}


def test_what_servers_leave_out_is_not_missed() -> None:
    """No model, no choices, null for a list, a delta without text: what there is counts."""
    assembly = OpenAIAssembly(CALL)
    events = fed(
        assembly,
        {"choices": None},
        {"choices": [], "prompt_filter_results": [{"x": 1}]},
        chunk(delta={"role": "assistant"}),
        chunk(delta={"content": "one", "tool_calls": None}, logprobs=None),
        chunk(delta=None, finish_reason="stop"),
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": None}},
    )
    usage = Usage(input_tokens=7, output_tokens=1)
    assert events == [TextDelta("one"), UsageKnown(usage, "gpt-4o")]
    answer = assembly.answer()
    assert (answer.text, answer.model, answer.finish_reason, answer.usage) == ("one", "gpt-4o", "stop", usage)


def test_tool_calls_are_put_together_by_their_index() -> None:
    """A server that knows only one call at a time numbers none."""
    for number in ({"index": 0}, {}):
        assembly = OpenAIAssembly(CALL)
        fed(
            assembly,
            chunk(delta={"tool_calls": [{**number, "id": "t1", "function": {"name": "f", "arguments": ""}}]}),
            chunk(delta={"tool_calls": [{**number, "function": {"arguments": '{"a": 1}'}}]}),
            chunk(delta={}, finish_reason="tool_calls"),
        )
        (tool,) = assembly.answer().tool_calls
        assert tool == {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize("data", ["nonsense", 3, ["x"], chunk(delta={"content": ["a", "list"]})])
def test_a_chunk_of_another_shape_is_an_error(data: object) -> None:
    """Of the kind that is told as a malformed answer; it counts as a chunk that came."""
    assembly = OpenAIAssembly(CALL)
    with pytest.raises(msgspec.ValidationError):
        fed(assembly, data)
    assert assembly.chunks == 1


@pytest.mark.parametrize("data", ["<html>busy</html>", None, {"choices": []}, {"choices": [{"index": 0}]}])
def test_a_whole_answer_of_another_shape_is_malformed(data: object) -> None:
    """A proxy's error page with status 200 is one, too."""
    with pytest.raises(Malformed):
        read_answer(data, CALL)
    with pytest.raises(Malformed):
        read_message(data, CALL)


def test_events_that_are_new_say_nothing_to_us() -> None:
    """Anthropic adds types of events, blocks and deltas, and asks clients to skip them."""
    assembly = AnthropicAssembly(CALL)
    started = {"model": "claude", "usage": {"input_tokens": 7, "output_tokens": 3}, "content": []}
    events = fed(
        assembly,
        {"type": "message_start", "message": started},
        {"type": "ping"},
        {"type": "something_new", "index": "who knows"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "o"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ne"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["o", "ne"]
    assert assembly.answer().usage == Usage(input_tokens=7, output_tokens=1)
    assert assembly.answer().finish_reason == "stop"


@pytest.mark.parametrize("data", ["nonsense", {"type": "content_block_delta"}, {"type": "message_start"}])
def test_an_event_of_another_shape_is_an_error(data: object) -> None:
    """Of the kind that is told as a malformed answer."""
    with pytest.raises((TypeError, msgspec.ValidationError)):
        fed(AnthropicAssembly(CALL), data)

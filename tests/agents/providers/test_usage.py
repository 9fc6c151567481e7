"""Usage is believed as far as it can be true, and priced as the providers price it."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.paid_calls.call_booking import charge
from agents.providers.answers.body import Value
from agents.providers.answers.chat_api import Assembly
from agents.providers.anthropic.assembly import AnthropicAssembly
from agents.providers.openai.chat import OpenAIAssembly
from agents.providers.provider import ProviderCall, Timeouts
from agents.providers.usage import ReportedUsage, asked_tier, count_output, plausible_usage
from streams.events import Usage
from streams.model_catalogue import MODELS

SONNET = "claude-sonnet-4-20250514"
TEXT = "one two three"
COUNTED = count_output(TEXT)
CALL = ProviderCall(
    call_id="call-1",
    model=SONNET,
    messages=(),
    max_output_tokens=10,
    timeouts=Timeouts(connect_s=1, first_token_s=1, between_tokens_s=1, total_s=1),
    input_tokens=7,
    most_tokens=1_000_000,
)
ASKED_GPT = msgspec.structs.replace(CALL, model="gpt-4o")

numbers = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=4),
    st.sampled_from(["12", "-1", {}, [1]]),
)


def spent(assembly: Assembly, *values: Value) -> Usage:
    for value in values:
        list(assembly.feed(value))
    return assembly.answer().usage


def message(usage: object) -> Usage:
    data = {"model": SONNET, "stop_reason": "end_turn", "content": [{"type": "text", "text": TEXT}]}
    return spent(AnthropicAssembly(CALL), Value({**data, "usage": usage}, whole=True))


def completion(usage: object) -> Usage:
    choice = {"message": {"content": TEXT}, "finish_reason": "stop"}
    data = {"model": "gpt-4o", "choices": [choice], "usage": usage}
    return spent(OpenAIAssembly(ASKED_GPT), Value(data, whole=True))


def usd(usage: Usage) -> Decimal:
    return charge(MODELS[SONNET], usage).cost_usd


def test_what_is_written_to_the_cache_costs_more_than_what_is_sent() -> None:
    """A quarter more for five minutes, twice as much for an hour."""
    usage = message({"input_tokens": 6, "cache_creation_input_tokens": 159_217, "output_tokens": 2_745})
    assert (usage.input_tokens, usage.cache_write_tokens, usage.estimated) == (159_223, 159_217, False)
    assert usd(usage) == Decimal("0.638256750")
    hourly = message(
        {
            "input_tokens": 6,
            "cache_creation_input_tokens": 1_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
            "output_tokens": 0,
        }
    )
    assert hourly.cache_write_1h_tokens == 600
    # 6 x 3 + 400 x 3 x 1.25 + 600 x 3 x 2, of a million
    assert usd(hourly) == Decimal("0.005118")


def test_tier_and_reasoning_are_read_from_both_apis() -> None:
    """The tier is what the answer says; a name that is none counts for nothing, and spoils nothing."""
    told = {
        "input_tokens": 10,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 3},
        "service_tier": "batch",
    }
    expected = Usage(input_tokens=10, output_tokens=5, reasoning_tokens=3, service_tier="batch")
    assert message(told) == expected
    choice = {"message": {"content": TEXT}, "delta": {"content": TEXT}, "finish_reason": "stop"}
    told = {"model": "gpt-4o", "choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    for named, tier in (("flex", "flex"), ("default", "standard"), (17, "standard"), ("x" * 99, "x" * 32)):
        expected = Usage(input_tokens=10, output_tokens=5, service_tier=tier)
        for whole in (True, False):
            value = Value(told | {"service_tier": named}, whole=whole)
            assert spent(OpenAIAssembly(ASKED_GPT), value) == expected
    broken = OpenAIAssembly(ASKED_GPT)
    list(broken.feed(Value({"choices": [{"delta": {"content": TEXT}}], "service_tier": "flex"})))
    assert broken.estimate() == Usage(
        input_tokens=7, output_tokens=COUNTED, estimated=True, service_tier="flex"
    )


def test_the_tier_that_was_asked_for_counts_until_the_provider_names_one() -> None:
    """A call without any answer may be billed at it."""
    asked = msgspec.structs.replace(ASKED_GPT, params={"service_tier": "priority"})
    silent = OpenAIAssembly(asked)
    assert silent.estimate() == Usage(input_tokens=7, estimated=True, service_tier="priority")
    list(silent.feed(Value({"choices": [], "service_tier": "default"})))
    assert silent.estimate() == Usage(input_tokens=7, estimated=True)
    assert [asked_tier(call) for call in (asked, ASKED_GPT)] == ["priority", "standard"]


def test_the_breakdown_of_cache_writes_may_stand_alone() -> None:
    """Its parts are what was written; where their sum is told, the sum counts."""
    kept = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 500}
    usage = message({"input_tokens": 20, "cache_creation": kept, "output_tokens": 5})
    assert (usage.input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens) == (620, 600, 500)
    assert not usage.estimated


def test_the_last_totals_of_a_stream_count() -> None:
    """They are cumulative, the input as well: tools that ran at the provider add to it."""
    assembly = AnthropicAssembly(CALL)
    begun = {"input_tokens": 10, "cache_creation_input_tokens": 31_490, "output_tokens": 1}
    ended = {
        "input_tokens": 450,
        "cache_creation_input_tokens": 184_457,
        "cache_read_input_tokens": 1_000,
        "output_tokens": 50,
    }
    events = (
        {"type": "message_start", "message": {"model": SONNET, "usage": begun}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
    )
    assert spent(assembly, *map(Value, events)) == Usage(
        input_tokens=185_907, output_tokens=50, cached_tokens=1_000, cache_write_tokens=184_457
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage(input_tokens=7, output_tokens=COUNTED, estimated=True)),
        ("much", Usage(input_tokens=7, output_tokens=COUNTED, estimated=True)),
        ({}, Usage(input_tokens=7, output_tokens=COUNTED, estimated=True)),
        ({"prompt_tokens": 10}, Usage(input_tokens=10, output_tokens=COUNTED, estimated=True)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 50}},
            Usage(input_tokens=10, output_tokens=5, estimated=True),
        ),
        (
            {"prompt_tokens": 0, "completion_tokens": 0},
            Usage(input_tokens=7, output_tokens=COUNTED, estimated=True),
        ),
        (
            {"prompt_tokens": 0, "completion_tokens": 5},
            Usage(input_tokens=7, output_tokens=5, estimated=True),
        ),
        (
            {"prompt_tokens": -3, "completion_tokens": 5},
            Usage(input_tokens=7, output_tokens=5, estimated=True),
        ),
        (
            {"prompt_tokens": 10**9, "completion_tokens": 2.5},
            Usage(input_tokens=7, output_tokens=COUNTED, estimated=True),
        ),
        (
            {"prompt_tokens": "10", "completion_tokens": 5.0, "completion_tokens_details": "?"},
            Usage(input_tokens=10, output_tokens=5),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(input_tokens=10, output_tokens=5, cached_tokens=4, reasoning_tokens=3),
        ),
    ],
)
def test_what_cannot_be_true_is_replaced_by_our_own_count_and_marked(usage: object, expected: Usage) -> None:
    """An answer is never lost for a count; whole and streamed it is the same."""
    assert completion(usage) == expected
    assembly = OpenAIAssembly(ASKED_GPT)
    chunk = {"choices": [{"delta": {"content": TEXT}, "finish_reason": "stop"}]}
    assert spent(assembly, Value(chunk), Value({"choices": [], "usage": usage})) == expected


@given(reported=st.builds(ReportedUsage, **dict.fromkeys(ReportedUsage.__struct_fields__, numbers)))
def test_nothing_that_is_booked_is_negative_or_more_than_its_whole(reported: ReportedUsage) -> None:
    """Whatever a provider says: ClickHouse takes the row, and the price is a price."""
    found: Any = plausible_usage(reported, CALL, count_output=lambda: 3)
    counts = msgspec.structs.asdict(found)
    assert 0 < len(counts.pop("service_tier")) <= 32
    assert all(count >= 0 for count in counts.values())
    assert found.cached_tokens + found.cache_write_tokens <= found.input_tokens <= 1_000_000
    assert found.cache_write_1h_tokens <= found.cache_write_tokens
    assert found.reasoning_tokens <= found.output_tokens
    assert usd(found) >= 0

"""Faults of both providers over HTTP, and what each of them is known to have spent."""

import socket
from contextlib import aclosing

import msgspec
import pytest

from agents.providers.faults import (
    AuthenticationFault,
    ConnectionLost,
    ContextTooLong,
    Malformed,
    ModelUnavailable,
    Overloaded,
    ProviderFault,
    ProviderTimeout,
    RateLimited,
    Refused,
    ServerFault,
)
from agents.providers.provider import Provider, TextDelta, Timeouts
from streams.events import Usage
from streams.model_catalogue import count_text
from tests.agents.providers.simulated import (
    TEXT,
    Operator,
    Streamed,
    call_to,
    complete,
    provider_at,
    read,
    streamed,
)

QUICK = Timeouts(connect_s=5, first_token_s=0.2, between_tokens_s=0.2, total_s=5)


async def ask(provider: Provider, *, stream: bool, **settings: object) -> None:
    call = call_to(provider, **settings)
    await (read(provider, call) if stream else complete(provider, call))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "fault"),
    [("rate_limit", RateLimited), ("server_error", ServerFault), ("overloaded", Overloaded)],
)
async def test_a_call_that_is_turned_away_costs_nothing(
    provider: Provider, operator: Operator, stream: bool, kind: str, fault: type[ProviderFault]
) -> None:
    """Each error status is its own fault, and nothing is on the invoice."""
    await operator.fault(kind)
    with pytest.raises(fault) as raised:
        await ask(provider, stream=stream)
    assert raised.value.billed_usage is None
    assert await operator.items() == []


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded"])
async def test_retry_after_is_read(provider: Provider, operator: Operator, kind: str) -> None:
    """The wait that the provider asks for is part of the fault."""
    await operator.fault(kind, retry_after_s=7)
    with pytest.raises(ProviderFault) as raised:
        await ask(provider, stream=False)
    assert raised.value.retry_after_s == 7


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_ends_with_a_timeout(provider: Provider, operator: Operator, stream: bool) -> None:
    """A provider that hangs is left within the time for the first token, or for the whole."""
    await operator.fault("hang")
    timeouts = QUICK if stream else msgspec.structs.replace(QUICK, total_s=0.2)
    with pytest.raises(ProviderTimeout) as raised:
        await ask(provider, stream=stream, timeouts=timeouts)
    assert raised.value.error == ("timeout_first_token" if stream else "timeout_total")


async def test_silence_within_an_answer_ends_with_a_timeout(provider: Provider, operator: Operator) -> None:
    """The text that came is billed as it was counted."""
    await operator.fault("hang", after_chunks=3)
    timeouts = Timeouts(connect_s=5, first_token_s=10, between_tokens_s=1.5, total_s=30)
    got = Streamed()
    with pytest.raises(ProviderTimeout) as raised:
        await read(provider, call_to(provider, timeouts=timeouts), got)
    assert raised.value.error == "timeout_between_tokens"
    assert TEXT.startswith(got.text)
    assert raised.value.billed_usage is not None
    assert raised.value.billed_usage.output_tokens == count_text(got.text) > 0


async def test_the_total_time_ends_an_answer_that_goes_on(provider: Provider, operator: Operator) -> None:
    """Tokens keep coming, and still the call ends at its deadline."""
    await operator.behave(latency={"tokens_per_second": 20}, answers=[{"text": TEXT * 20}])
    timeouts = Timeouts(connect_s=5, first_token_s=5, between_tokens_s=5, total_s=0.4)
    with pytest.raises(ProviderTimeout) as raised:
        await ask(provider, stream=True, timeouts=timeouts)
    assert raised.value.error == "timeout_total"


@pytest.mark.parametrize("after_chunks", [0, 1, 4])
@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("drop", ConnectionLost),
        ("server_error", ServerFault),
        ("overloaded", Overloaded),
        ("malformed", Malformed),
    ],
)
async def test_a_stream_that_breaks_off_is_billed_for_what_came(
    provider: Provider, operator: Operator, after_chunks: int, kind: str, fault: type[ProviderFault]
) -> None:
    """The estimate equals the invoice: the prompt, and the text up to the break."""
    await operator.fault(kind, after_chunks=after_chunks)
    got = Streamed()
    with pytest.raises(fault) as raised:
        await read(provider, call_to(provider), got)
    (item,) = await operator.items()
    billed = raised.value.billed_usage
    assert billed is not None
    assert billed.input_tokens == item["input_tokens"]
    if kind != "malformed":  # there the provider wrote on, and bills what nobody could read
        assert billed.output_tokens == item["output_tokens"]
    assert billed.output_tokens == count_text(got.text)


@pytest.mark.parametrize(("kind", "fault"), [("drop", ConnectionLost), ("malformed", Malformed)])
async def test_a_whole_answer_that_is_garbled_is_billed_for_its_prompt(
    provider: Provider, operator: Operator, kind: str, fault: type[ProviderFault]
) -> None:
    """It was generated; its output cannot be counted any more, so the estimate is a lower bound."""
    await operator.fault(kind)
    with pytest.raises(fault) as raised:
        await ask(provider, stream=False)
    (item,) = await operator.items()
    assert raised.value.billed_usage == Usage(input_tokens=item["input_tokens"], estimated=True)


async def test_closing_the_stream_ends_the_call(provider: Provider, operator: Operator) -> None:
    """A reader that has seen enough stops the provider: far less is billed than would have been."""
    await operator.behave(latency={"tokens_per_second": 10}, answers=[{"text": TEXT * 50}])
    async with aclosing(streamed(provider, call_to(provider))) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
    for _ in range(200):
        items = await operator.items()
        if items:
            break
    assert items[0]["status"] == "cancelled"
    assert items[0]["output_tokens"] < 100


@pytest.mark.parametrize("stream", [False, True])
async def test_a_wrong_key_is_a_fault_of_its_own(address: str, operator: Operator, stream: bool) -> None:
    """No other model of the provider would take it."""
    del operator
    for name in ("openai", "anthropic"):
        provider = provider_at(address, name, key="wrong")
        with pytest.raises(AuthenticationFault):
            await ask(provider, stream=stream)
        await provider.aclose()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_is_not_served_is_named(provider: Provider, stream: bool) -> None:
    """Another model may be asked."""
    with pytest.raises(ModelUnavailable) as raised:
        await ask(provider, stream=stream, model="no-such-model")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


# aiohttp remarks on every body above 1 MB; it is written to the socket in one piece, within microseconds.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_prompt_that_is_too_long_is_named(provider: Provider) -> None:
    """OpenAI has a code for it and Anthropic has words."""
    with pytest.raises(ContextTooLong) as raised:
        await ask(provider, stream=False, text="word " * 210_000)
    assert raised.value.code == "context_length_exceeded"


async def test_what_the_provider_refuses_says_why(provider: Provider) -> None:
    """The sender reads the provider's own words."""
    with pytest.raises(Refused) as raised:
        await ask(provider, stream=False, max_output_tokens=10_000_000)
    assert type(raised.value) is Refused
    assert "max" in raised.value.message
    assert raised.value.error == "refused"


async def test_nobody_at_the_address_is_a_lost_connection() -> None:
    """A refused connection costs nothing."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for name in ("openai", "anthropic"):
            provider = provider_at(address, name)
            for stream in (False, True):
                with pytest.raises(ConnectionLost) as raised:
                    await ask(provider, stream=stream)
                assert raised.value.billed_usage is None
            await provider.aclose()

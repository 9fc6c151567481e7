"""Calls of the real clients that are stopped: by a cancellation, a successor, a time limit, a deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from agents.checks.answer_guard import StreamingGuard
from agents.llm.chat_calls import LlmSettings
from agents.llm.stage import LlmStage
from agents.paid_calls.paid_request import CallPorts
from agents.stage import Delivery, Record, Superseded
from agents.stores.journal import Journal
from agents.stores.journal_entries import Claimed
from streams.events import LlmCall, OutcomeReached, ReplyAddress, Status
from streams.model_catalogue import MODELS, ProviderProtocol
from streams.publisher import Emit
from streams.redis import connection
from streams.registry.registry import CancelAnswer, RequestRegistry
from tests.agents.llm.fakes import FakeSink, missed
from tests.agents.providers.simulated import MODELS as NAMES
from tests.agents.providers.simulated import Operator, provider_at, running_simulator
from tests.fakes.providers import clients_of

pytestmark = pytest.mark.integration

TTL_S = 600
LONG_TEXT = "one two three four five six " * 20
RECORD = Record(topic="llm.misses.v1", partition=0, offset=1, timestamp_ms=0)
each_provider = pytest.mark.parametrize("provider", ["openai", "anthropic"])
streamed_or_whole = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_simulator() as address:
        yield address


@pytest.fixture
async def operator(address: str) -> AsyncIterator[Operator]:
    async with httpx.AsyncClient(base_url=address, timeout=5) as http:
        operator = Operator(http)
        await operator.reset()
        yield operator
        await operator.reset()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


async def soon(_seconds: float) -> None:
    """Look twenty times as often as in service."""
    await asyncio.sleep(0.05)


Staged = Callable[..., LlmStage]


@pytest.fixture
async def staged(address: str, operator: Operator, redis: Redis) -> AsyncIterator[Staged]:
    """Makes stages with a policy of their own."""
    del operator
    providers = {name: provider_at(address, name) for name in ProviderProtocol}

    def make(**policy: Any) -> LlmStage:
        return LlmStage(
            providers=clients_of(providers),
            publisher=FakeSink(),
            guards=lambda _event: StreamingGuard(),
            settings=LlmSettings(**({"provider_tries": 1} | policy)),
            ports=CallPorts(journal=Journal(redis, ttl_s=TTL_S), pause=soon),
        )

    yield make
    for provider in providers.values():
        await provider.aclose()


def request(provider: str, *, stream: bool, deadline_s: float = 60) -> Delivery[Any]:
    """A request to the provider's model, as of now."""
    event = missed(request_id=uuid4().hex, stream=stream, model=NAMES[provider])
    deadline_at = datetime.now(UTC) + timedelta(seconds=deadline_s)
    envelope = msgspec.structs.replace(event.envelope, deadline_at=deadline_at)
    return Delivery(event=msgspec.structs.replace(event, envelope=envelope), record=RECORD)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Return the first truthy value."""
    async with asyncio.timeout(10):
        while not (value := await condition()):
            await asyncio.sleep(0.02)
        return value


async def until_called(journal: Journal, request_id: str, *, record: str) -> None:
    """Return when the record's call of a provider is noted, which is just before it is made."""

    async def noted() -> bool:
        return bool((await journal.calls(request_id, record=record)).lost_calls)

    await until(noted)


def ending(emits: Any) -> tuple[OutcomeReached, LlmCall]:
    """Return the outcome, and its one call."""
    (emit,) = emits
    assert isinstance(emit, Emit)
    assert isinstance(emit.value, OutcomeReached)
    (call,) = emit.value.envelope.calls
    return emit.value, call


@each_provider
@streamed_or_whole
async def test_a_cancelled_call_stops_the_provider_and_is_booked(
    staged: Staged, operator: Operator, redis: Redis, provider: str, stream: bool
) -> None:
    """The provider sees its client leave. Of a stream the bill is known, but for what is on its way."""
    await operator.behave(
        latency={"first_token_ms": 100, "tokens_per_second": 4}, answers=[{"text": LONG_TEXT}]
    )
    stage, delivery, registry = (
        staged(),
        request(provider, stream=stream),
        RequestRegistry(redis, ttl_s=TTL_S),
    )
    request_id, record = delivery.event.envelope.request_id, delivery.record.address
    await registry.register(
        request_id,
        tenant="acme",
        body="b",
        origin="o",
        running=True,
        reply_to=ReplyAddress(topic="llm.replies.v1"),
    )
    working = asyncio.create_task(stage.handle(delivery))
    await until_called(Journal(redis, ttl_s=TTL_S), request_id, record=record)
    await asyncio.sleep(1)  # the answer has begun by then, and is far from its end
    answer = await registry.cancel(request_id, tenant="acme", reason="cancelled_by_sender")
    assert answer is CancelAnswer.CANCELLING
    async with asyncio.timeout(5):
        event, call = ending(await working)
    (item,) = await until(operator.items)
    assert (event.status, call.error, item["status"]) == (Status.CANCELLED, "cancelled", "cancelled")
    assert item["output_tokens"] > 0
    unseen = Decimal(item["usd"]) - call.cost_usd
    token_usd = MODELS[NAMES[provider]].cost_usd(input_tokens=0, output_tokens=1, cached_tokens=0)
    if stream:
        assert 0 <= unseen <= 10 * token_usd  # two seconds' worth may be on its way
        assert call.usage.output_tokens > 0
    else:
        assert unseen == item["output_tokens"] * token_usd


@each_provider
@streamed_or_whole
async def test_a_zombies_call_stops_the_provider(
    staged: Staged, operator: Operator, redis: Redis, provider: str, stream: bool
) -> None:
    """Its successor was handed the call as lost; the zombie sends nothing."""
    await operator.behave(latency={"first_token_ms": 20_000})
    stage, delivery, journal = staged(), request(provider, stream=stream), Journal(redis, ttl_s=TTL_S)
    request_id, record = delivery.event.envelope.request_id, delivery.record.address
    working = asyncio.create_task(stage.handle(delivery))
    await until_called(journal, request_id, record=record)
    successor = await journal.claim(
        request_id,
        record=record,
        instance="worker-1",
        deadline_at=datetime.now(UTC) + timedelta(seconds=60),
        now=datetime.now(UTC),
    )
    assert isinstance(successor, Claimed)
    assert len(successor.lost_calls) == 1
    async with asyncio.timeout(5):
        with pytest.raises(Superseded):
            await working


@each_provider
async def test_a_stream_that_drips_for_ever_ends(staged: Staged, operator: Operator, provider: str) -> None:
    """Each piece comes in time; the whole does not. What came is booked as the provider bills it."""
    await operator.behave(
        latency={"first_token_ms": 50, "tokens_per_second": 10}, answers=[{"text": LONG_TEXT}]
    )
    stage = staged(provider_timeout_s=5, provider_total_timeout_s=2.5)
    async with asyncio.timeout(10):
        event, call = ending(await stage.handle(request(provider, stream=True, deadline_s=21_600)))
    assert (event.status, call.error) == (Status.DEGRADED, "timeout_total")
    assert call.usage.output_tokens > 0


@pytest.fixture
def large_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep three seconds for the apology: on a busy machine it may take most of them."""
    monkeypatch.setattr("agents.paid_calls.call_policy._RESERVE_S", 3.0)
    monkeypatch.setattr("agents.paid_calls.call_policy._RESERVE_SHARE", 1.0)


@each_provider
@pytest.mark.usefixtures("large_reserve")
@pytest.mark.parametrize(("stream", "after_chunks"), [(False, None), (True, None), (True, 3)])
async def test_a_hanging_provider_holds_no_request_beyond_its_deadline(
    staged: Staged, operator: Operator, provider: str, stream: bool, after_chunks: int | None
) -> None:
    """Silent from the start, or from the middle on: it is given up while there is time for an apology."""
    fault: dict[str, Any] = {"kind": "hang", "rate": 1}
    await operator.behave(faults=[fault | ({"after_chunks": after_chunks} if after_chunks else {})])
    async with asyncio.timeout(10):
        event, call = ending(await staged().handle(request(provider, stream=stream, deadline_s=4.5)))
    assert event.error is not None
    assert (event.status, event.error.code) == (Status.DEGRADED, "all_models_failed")
    assert call.error is not None
    assert call.error.startswith("timeout_")

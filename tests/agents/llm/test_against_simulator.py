"""The stage with the real providers, the real journal and the real guard, against the provider simulator."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from agents.checks.answer_guard import StreamingGuard
from agents.llm.chat_calls import LlmSettings
from agents.llm.stage import LlmStage
from agents.paid_calls.paid_request import CallPorts, Clock
from agents.stage import Delivery, Record
from agents.stores.journal import Journal
from streams.events import Completed, OutcomeReached, Status
from streams.model_catalogue import ProviderProtocol
from streams.redis import connection
from tests.agents.llm.fakes import FakeSink, missed
from tests.agents.providers.simulated import Operator, provider_at, running_simulator
from tests.fakes.providers import clients_of

pytestmark = pytest.mark.integration

CLAUDE = "claude-sonnet-4-20250514"


class ImpatientClock(Clock):
    """The real time, but waits before retries take none."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


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


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
async def stage(address: str, operator: Operator, redis: Redis) -> AsyncIterator[LlmStage]:
    del operator
    providers = {name: provider_at(address, name) for name in ProviderProtocol}
    yield LlmStage(
        providers=clients_of(providers),
        publisher=FakeSink(),
        guards=lambda _event: StreamingGuard(),
        settings=LlmSettings(
            fallback_models=(CLAUDE, "gpt-4o-mini"), breaker_threshold=1000, provider_timeout_s=5
        ),
        ports=CallPorts(journal=Journal(redis, ttl_s=600), clock=ImpatientClock(), jitter=lambda: 0.0),
    )
    for provider in providers.values():
        await provider.aclose()


async def run(stage: LlmStage, **request: object) -> Completed | OutcomeReached:
    """Send one request through the stage, as of now."""
    event = missed(request_id=uuid4().hex, **request)
    envelope = msgspec.structs.replace(event.envelope, deadline_at=datetime.now(UTC) + timedelta(seconds=30))
    record = Record(topic="llm.misses.v1", partition=0, offset=1, timestamp_ms=0)
    delivery = Delivery(event=msgspec.structs.replace(event, envelope=envelope), record=record)
    (emit,) = await stage.handle(delivery)
    await stage.delivered(delivery)
    assert isinstance(emit.value, Completed | OutcomeReached)
    return emit.value


async def test_the_books_equal_the_invoice_whatever_goes_wrong(stage: LlmStage, operator: Operator) -> None:
    """40 requests, streamed and whole, to two providers that refuse, fail, hang and break off at random.

    The sum of the costs in the envelopes is the invoice, to the nano-dollar; so is each call.
    """
    await operator.behave(
        faults=[
            {"kind": "rate_limit", "rate": 0.1, "retry_after_s": 1},
            {"kind": "server_error", "rate": 0.1},
            {"kind": "overloaded", "rate": 0.1, "provider": "anthropic"},
            {"kind": "drop", "rate": 0.15, "after_chunks": 5, "prompt_contains": "streamed"},
            {"kind": "server_error", "rate": 0.1, "after_chunks": 2, "prompt_contains": "streamed"},
            {"kind": "hang", "rate": 0.05, "after_chunks": 3, "prompt_contains": "streamed"},
        ]
    )
    outcomes = await asyncio.gather(
        *(
            run(stage, stream=n % 2 == 0, text=f"Turbine {n}, {'streamed' if n % 2 == 0 else 'whole'}")
            for n in range(40)
        )
    )
    calls = [call for outcome in outcomes for call in outcome.envelope.calls]
    invoice = {item["client_request_id"]: Decimal(item["usd"]) for item in await operator.items()}
    assert {call.error for call in calls} >= {None, "rate_limited", "server_error", "connection_lost"}
    assert {call.call_id: call.cost_usd for call in calls if call.cost_usd} == invoice
    assert sum(call.cost_usd for call in calls) == await operator.total_usd()


async def test_the_fallback_answers_when_the_first_provider_is_down(
    stage: LlmStage, operator: Operator
) -> None:
    """OpenAI fails three times; Claude's answer is booked as Claude's."""
    await operator.behave(faults=[{"kind": "server_error", "rate": 1, "provider": "openai"}])
    outcome = await run(stage)
    assert isinstance(outcome, Completed)
    assert outcome.completion.provider == "anthropic"
    assert [call.request_model for call in outcome.envelope.calls] == ["gpt-4o"] * 3 + [CLAUDE]


async def test_everything_down_gives_the_degraded_answer(stage: LlmStage, operator: Operator) -> None:
    """Nine calls, none billed."""
    await operator.behave(faults=[{"kind": "overloaded", "rate": 1}])
    outcome = await run(stage)
    assert isinstance(outcome, OutcomeReached)
    assert outcome.status is Status.DEGRADED
    assert len(outcome.envelope.calls) == 9
    assert await operator.total_usd() == 0


async def test_what_is_published_of_a_streamed_answer_is_the_answer(
    stage: LlmStage, operator: Operator
) -> None:
    """The deltas make up the content of the completion."""
    await operator.behave(answers=[{"text": "The headrace feeds the mill. " * 30}])
    outcome = await run(stage, stream=True)
    assert isinstance(outcome, Completed)
    sink = stage.loop._kind.publisher
    assert isinstance(sink, FakeSink)
    assert sink.text == outcome.completion.content
    assert outcome.envelope.calls[0].time_to_first_token_us is not None

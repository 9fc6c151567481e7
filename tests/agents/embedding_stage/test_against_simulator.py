"""The stage with the real provider client, journal and registry, against the provider simulator."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from agents.checks.pii import redact
from agents.embedding_stage.stage import EmbeddingsStage
from agents.intake.intake import Intake
from agents.paid_calls.call_policy import CallPolicy
from agents.paid_calls.paid_request import CallPorts
from agents.providers.openai.embeddings import OpenAIEmbeddings
from agents.stores.journal import Journal
from headrace.simulator.openai_api import embed
from streams.events import OutcomeReached, Status
from streams.model_catalogue import ProviderProtocol
from streams.redis import connection
from streams.registry.registry import RequestRegistry
from tests.agents.embedding_stage.fakes import delivery, wanted
from tests.agents.llm.test_against_simulator import ImpatientClock
from tests.agents.providers.simulated import Operator, running_simulator
from tests.fakes.providers import clients_of
from tests.fakes.settings import settings_of

pytestmark = pytest.mark.integration


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
async def stage(address: str, operator: Operator, redis: Redis) -> AsyncIterator[EmbeddingsStage]:
    del operator
    provider = OpenAIEmbeddings(api_key="sk-test", base_url=f"{address}/v1")
    yield EmbeddingsStage(
        intake=Intake(
            RequestRegistry(redis, ttl_s=600),
            has_topic=_has,
            reply_topics=(),
            default_deadline_ms=30_000,
        ),
        providers=clients_of({ProviderProtocol.OPENAI: provider}),
        redact=redact,
        settings=settings_of(),
        policy=CallPolicy(provider_tries=6, breaker_threshold=1_000),
        ports=CallPorts(journal=Journal(redis, ttl_s=600), clock=ImpatientClock(), jitter=lambda: 0.0),
    )
    await provider.aclose()


async def _has(_topic: str, _partition: int | None) -> bool:
    return True


async def run(stage: EmbeddingsStage, *inputs: str, **fields: object) -> OutcomeReached:
    """Send one request through the stage, as of now."""
    now = datetime.now(UTC)
    given = delivery(wanted(*inputs, request_id=uuid4().hex, accepted_at=now, **fields), at=now)
    (emit,) = await stage.handle(given)
    await stage.delivered(given)
    assert isinstance(emit.value, OutcomeReached)
    return emit.value


async def test_the_vectors_are_those_of_the_provider(stage: EmbeddingsStage) -> None:
    """To the bit, in the order of the texts, and for what was asked: without the address in it."""
    found = await run(stage, "one text", "write to ann@example.com", dimensions=256)
    assert found.completion is not None
    assert found.completion.embeddings is not None
    vectors = np.frombuffer(found.completion.embeddings.vectors, dtype="<f4").reshape(2, 256)
    for vector, text in zip(vectors, ("one text", "write to [REDACTED_EMAIL]"), strict=True):
        assert np.array_equal(vector, embed(text, 256, 7))


async def test_the_books_equal_the_invoice_whatever_goes_wrong(
    stage: EmbeddingsStage,
    operator: Operator,
) -> None:
    """40 requests to a provider that refuses, fails, breaks off and garbles: equal, call by call."""
    await operator.behave(
        faults=[
            {"kind": "rate_limit", "rate": 0.1, "retry_after_s": 1},
            {"kind": "server_error", "rate": 0.1},
            {"kind": "drop", "rate": 0.15},
            {"kind": "malformed", "rate": 0.1},
        ],
    )
    outcomes = await asyncio.gather(
        *(run(stage, f"Turbine {n}", "and its wheel", model=_model(n)) for n in range(40)),
    )
    calls = [call for outcome in outcomes for call in outcome.envelope.calls]
    invoice = {item["client_request_id"]: Decimal(item["usd"]) for item in await operator.items()}
    assert {call.error for call in calls} >= {None, "rate_limited", "server_error", "connection_lost"}
    assert {call.call_id: call.cost_usd for call in calls if call.cost_usd} == invoice
    assert sum(call.cost_usd for call in calls) == await operator.total_usd()
    assert {outcome.status for outcome in outcomes} == {Status.ANSWERED}


def _model(number: int) -> str:
    return ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")[number % 3]

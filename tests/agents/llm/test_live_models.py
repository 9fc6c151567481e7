"""The stage with providers and models by control records, against provider simulators at other addresses."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from decimal import Decimal

import httpx
import pytest
from redis.asyncio import Redis

from agents.checks.answer_guard import StreamingGuard
from agents.llm.chat_calls import LlmSettings
from agents.llm.stage import LlmStage
from agents.paid_calls.paid_request import CallPorts
from agents.providers.adapters import chat_clients
from agents.stores.journal import Journal
from streams.control.catalogue import LiveCatalogue
from streams.control.state import ControlState
from streams.events import Completed, OutcomeReached
from streams.redis import connection
from tests.agents.llm.fakes import FakeSink
from tests.agents.llm.test_against_simulator import run
from tests.agents.providers.simulated import Operator, running_simulator
from tests.fakes.model_records import model, provider, state_of
from tests.fakes.settings import settings_of

pytestmark = pytest.mark.integration

PRICE = {"input_usd_per_million": "0.3", "output_usd_per_million": "1.2"}


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running_simulator()) for _ in range(2)]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


class Worker:
    """The stage, and the control records that it follows."""

    def __init__(self, redis: Redis) -> None:
        self.models = LiveCatalogue()
        self.clients = chat_clients(settings_of(openai_api_key=None, anthropic_api_key=None))
        self.stage = LlmStage(
            providers=self.clients,
            publisher=FakeSink(),
            guards=lambda _event: StreamingGuard(),
            settings=LlmSettings(),
            ports=CallPorts(journal=Journal(redis, ttl_s=600), models=self.models),
        )

    def follow(self, state: ControlState) -> None:
        self.models.follow(state)
        self.clients.follow(state)

    async def ask(self, name: str, *, stream: bool = False) -> Completed | OutcomeReached:
        return await run(self.stage, model=name, stream=stream)


@pytest.fixture
async def worker(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    monkeypatch.setenv("HOUSE_API_KEY", "sk-house")
    worker = Worker(redis)
    yield worker
    await worker.clients.aclose()


async def calls_at(address: str) -> list[dict[str, object]]:
    async with httpx.AsyncClient(base_url=address, timeout=5) as http:
        return [*await Operator(http).items()]


def house(address: str, *, version: int = 1, price: dict[str, str] = PRICE) -> ControlState:
    """A self-hosted server, and a model of it under a name of its own."""
    server = provider("vllm", base_url=f"{address}/vllm/v1", api_key_env="HOUSE_API_KEY")
    served = model(
        "house-mini",
        version=version,
        provider="vllm",
        upstream_name="gpt-4o-mini",
        aliases=("mini",),
        price=price,
    )
    return state_of(server, served)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_by_record_answers_and_is_priced(
    worker: Worker, addresses: list[str], stream: bool
) -> None:
    """Under its own name, at its own price, without a key of the shipped providers."""
    worker.follow(house(addresses[0]))
    event = await worker.ask("mini", stream=stream)
    assert isinstance(event, Completed)
    assert event.completion.provider == "vllm"
    (call,) = event.envelope.calls
    assert (call.provider, call.request_model, call.price_version) == (
        "vllm",
        "house-mini",
        "model:house-mini@1",
    )
    usage = call.usage
    assert not usage.estimated
    assert (
        call.cost_usd
        == (usage.input_tokens * Decimal("0.3") + usage.output_tokens * Decimal("1.2")) / 1_000_000
    )
    assert call.call_id in {each["client_request_id"] for each in await calls_at(addresses[0])}


async def test_a_change_counts_for_the_next_call(worker: Worker, addresses: list[str]) -> None:
    """Of the price, of the address, and of whether there is such a model."""
    worker.follow(house(addresses[0]))
    await worker.ask("house-mini")
    free = {"input_usd_per_million": "0", "output_usd_per_million": "0"}
    worker.follow(house(addresses[1], version=2, price=free))
    event = await worker.ask("house-mini")
    (call,) = event.envelope.calls
    assert (call.cost_usd, call.price_version) == (0, "model:house-mini@2")
    assert call.call_id in {each["client_request_id"] for each in await calls_at(addresses[1])}
    worker.follow(state_of())
    gone = await worker.ask("house-mini")
    assert isinstance(gone, OutcomeReached)
    assert gone.error is not None
    assert (gone.error.code, gone.envelope.calls) == ("model_not_found", ())

"""One simulator for all tests of this folder, reset before each; both providers pointed at it."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from agents.providers.provider import Provider
from tests.agents.providers.odd_servers import Bench, bench
from tests.agents.providers.simulated import Operator, provider_at, running_simulator


@pytest.fixture(scope="package")
def address() -> Iterator[str]:
    with running_simulator() as address:
        yield address


@pytest.fixture
async def operator(address: str) -> AsyncIterator[Operator]:
    async with httpx.AsyncClient(base_url=address, timeout=5) as http:
        operator = Operator(http)
        await operator.reset()
        yield operator


@pytest.fixture(params=["openai", "anthropic"])
async def provider(
    address: str, operator: Operator, request: pytest.FixtureRequest
) -> AsyncIterator[Provider]:
    provider = provider_at(address, request.param)
    yield provider
    await provider.aclose()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def servers() -> AsyncIterator[Bench]:
    """A server that says anything, and both adapters pointed at it."""
    async with bench() as running:
        yield running

"""An application on fakes, and clients that speak to it without a socket."""

from collections.abc import AsyncIterator

import httpx
import pytest

from ingest.main import create_app
from tests.ingest.fakes import KEY, Rig, rig


@pytest.fixture
def wired() -> Rig:
    """Services on fakes, whose pipeline does not answer until it is told how."""
    return rig()


@pytest.fixture
async def client(wired: Rig) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with the key of the tenant acme."""
    transport = httpx.ASGITransport(create_app(wired.services))
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=headers) as http:
        yield http

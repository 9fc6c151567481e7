"""Who may steer the simulator, and read its invoice."""

import base64

import httpx
import pytest

from headrace.simulator.app import create_app

PASSWORD = "the operator's: 100%"


def client(password: str | None) -> httpx.AsyncClient:
    """A client of a simulator with this password."""
    transport = httpx.ASGITransport(create_app(control_password=password))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.mark.parametrize("path", ["/behaviour", "/invoice"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "given",
    [
        None,
        "Bearer sk-1",
        "Basic %%%",
        "Basic",
        *(
            "Basic " + base64.b64encode(each).decode()
            for each in (b"control:", b"control:wrong", b":", b"\xff")
        ),
    ],
)
async def test_the_operators_paths_ask_for_the_password(path: str, method: str, given: str | None) -> None:
    """A provider's key does not do, and nothing changes."""
    async with client(PASSWORD) as http:
        headers = {} if given is None else {"Authorization": given}
        refused = await http.request(method, path, json={"cached_input_share": 1}, headers=headers)
        if (method, path) == ("PUT", "/invoice"):
            assert refused.status_code == 405
            return
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        behaviour = await http.get("/behaviour", auth=("control", PASSWORD))
        assert behaviour.json()["cached_input_share"] == 0


async def test_the_rest_does_not_ask() -> None:
    """Providers' paths take providers' keys; health is for everybody. Without a password nothing is asked."""
    async with client(PASSWORD) as http:
        assert (await http.get("/health")).status_code == 200
        headers = {"Authorization": "Bearer sk-1"}
        assert (await http.post("/v1/chat/completions", json={}, headers=headers)).status_code == 400
    async with client(None) as http:
        assert (await http.get("/invoice")).status_code == 200

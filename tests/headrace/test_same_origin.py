"""Which requests a server on this machine takes from browsers."""

import httpx
import pytest
from starlette.responses import PlainTextResponse

from headrace.same_origin import SameOriginOnly

OWN_ADDRESS = "192.0.2.7"  # httpx's transport says that the server listens on the address of the URL


async def status(headers: list[tuple[str, str]], url: str = f"http://{OWN_ADDRESS}:8090/") -> int:
    """The status of a GET with these headers."""
    app = SameOriginOnly(PlainTextResponse("in"), ["simulator"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        return (await client.get(url, headers=headers)).status_code


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:8090", "127.0.0.1", "127.0.0.1:8090", "127.8.9.1", "[::1]:8090",
        "simulator:8090", "192.0.2.7:1",
    ],
)  # fmt: skip
async def test_its_own_names_are_taken(host: str) -> None:
    """Loopback names and addresses, the address it listens on, and names that it was given; any port."""
    assert await status([("Host", host)]) == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example", "127.0.0.1.example", "localhost.", "192.0.2.8", "", "127.0.0.1:x", "[::1",
        "user@127.0.0.1", "127.0.0.1/x", "2130706433",
    ],
)  # fmt: skip
async def test_other_names_are_misdirected(host: str) -> None:
    """A page whose name was made to resolve to this machine sends its own name."""
    assert await status([("Host", host)]) == 421


async def test_two_host_headers_are_misdirected() -> None:
    """Which of them counts is anybody's guess."""
    assert await status([("Host", "127.0.0.1"), ("Host", "rebound.example")]) == 421


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], 200),
        ([("Sec-Fetch-Site", "none")], 200),
        ([("Sec-Fetch-Site", "same-origin"), ("Origin", "http://localhost:8090")], 200),
        ([("Origin", "http://localhost:9000")], 403),
        ([("Origin", "https://elsewhere.example")], 403),
        ([("Origin", "null")], 403),
        ([("Origin", "http://localhost:8090, http://elsewhere.example")], 403),
        ([("Sec-Fetch-Site", "cross-site")], 403),
        ([("Sec-Fetch-Site", "same-site")], 403),
    ],
)
async def test_pages_of_other_origins_are_refused(headers: list[tuple[str, str]], expected: int) -> None:
    """Programs send neither header, pages of other sites always one of them."""
    assert await status([("Host", "localhost:8090"), *headers]) == expected

"""What browsers and probes ask beside the routes: `OPTIONS`, `HEAD`, and methods that a path has not."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import StreamingResponse

from streams.serving.middleware import RequestFrame, answer_faults, answer_options

PAGE = "https://app.example"


def application(origins: Sequence[str]) -> FastAPI:
    """A path with two methods from different functions, and one that streams for ever."""
    app, router = FastAPI(), APIRouter()

    @router.get("/things/{name}")
    async def show(name: str) -> str:
        return name

    @router.delete("/things/{name}")
    async def remove(name: str) -> str:
        return name

    @router.get("/ticks")
    async def ticks() -> StreamingResponse:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0)
                yield b"tick\n"

        return StreamingResponse(endless(), media_type="text/event-stream")

    app.include_router(router)
    answer_faults(app, described_at="/here")
    answer_options(app, origins, methods=("GET", "DELETE"), exposed=("X-Request-ID",))
    app.add_middleware(RequestFrame, logger="test.access")
    return app


async def ask(method: str, path: str, *, origins: Sequence[str] = (PAGE,), **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(application(origins))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, path, headers=named)


async def test_a_wrong_method_is_told_the_right_ones() -> None:
    """All of them, whichever functions they belong to."""
    response = await ask("PUT", "/things/a")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS")


async def test_options() -> None:
    """The methods of a path; of a path that is not there, a 404."""
    there, elsewhere = await ask("OPTIONS", "/things/a"), await ask("OPTIONS", "/nowhere")
    assert (there.status_code, there.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS")
    assert elsewhere.status_code == 404


async def test_head_is_get_without_its_body() -> None:
    """With its status and its headers."""
    head, got = await ask("HEAD", "/things/a"), await ask("GET", "/things/a")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert (await ask("HEAD", "/nowhere")).status_code == 404


@pytest.mark.parametrize(
    ("origins", "origin", "method", "status"),
    [
        ((PAGE,), PAGE, "DELETE", 200),
        ((PAGE,), PAGE, "PUT", 403),
        ((PAGE,), "https://evil.example", "GET", 403),
        ((), PAGE, "GET", 403),
    ],
)
async def test_a_preflight(origins: Sequence[str], origin: str, method: str, status: int) -> None:
    """Permission for listed origins, whatever headers their clients send; to others a refusal in words."""
    response = await ask(
        "OPTIONS",
        "/things/a",
        origins=origins,
        Origin=origin,
        Access_Control_Request_Method=method,
        Access_Control_Request_Headers="x-stainless-os, authorization",
    )
    assert response.status_code == status
    if status == 200:
        assert response.headers["access-control-allow-origin"] == PAGE
        assert "x-stainless-os" in response.headers["access-control-allow-headers"]
    else:
        error = response.json()["error"]
        assert (error["code"], error["request_id"]) == (
            "origin_not_allowed",
            response.headers["X-Request-ID"],
        )

"""What holds around every request: ids, headers, faults, one line in the log."""

import uuid
from contextlib import suppress
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect

from streams.serving.api_keys import PresentedKey, required
from streams.serving.fastapi_errors import answer_wrong_parameters
from streams.serving.middleware import RequestFrame, answer_faults
from streams.serving.responses import unavailable


def application() -> FastAPI:
    """Routes that fail in every way."""
    app = FastAPI()

    @app.get("/fault/{kind}")
    async def fault(kind: str) -> None:
        faults: dict[str, Exception] = {
            "bug": RuntimeError("secret insides"),
            "left": ClientDisconnect(),
            "away": unavailable("it is away", retry_after_s=3),
        }
        raise faults[kind]

    @app.get("/number/{number}")
    async def number(number: int) -> int:
        return number

    @app.get("/key")
    async def key(presented: PresentedKey) -> str:
        return required(presented)

    @app.get("/counted")
    async def counted(request: Request) -> None:
        request.state.response_headers = {"x-ratelimit-limit-requests": "5"}
        raise unavailable("it is away", retry_after_s=3)

    answer_faults(app, described_at="/here")
    answer_wrong_parameters(app)
    app.add_middleware(RequestFrame, logger="test.access")
    return app


async def get(path: str, **headers: str | bytes) -> httpx.Response:
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=headers)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error object, whose id is the response's."""
    error: dict[str, Any] = response.json()["error"]
    assert error["request_id"] == response.headers["X-Request-ID"]
    return error


async def test_a_bug_shows_no_insides() -> None:
    """They are in the log, under the id that the client has."""
    with structlog.testing.capture_logs() as lines:
        response = await get("/fault/bug")
    assert (response.status_code, error_of(response)["code"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert [line["event"] for line in lines] == ["http.fault", "http.request"]
    assert {line["request_id"] for line in lines} == {response.headers["X-Request-ID"]}


async def test_an_api_error_is_its_status_with_its_headers() -> None:
    """As an error object."""
    response = await get("/fault/away")
    assert (response.status_code, error_of(response)["message"]) == (503, "it is away")
    assert response.headers["Retry-After"] == "3"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_headers_of_the_request_are_on_its_response() -> None:
    """Also where that is an error."""
    response = await get("/counted")
    assert response.status_code == 503
    assert response.headers["x-ratelimit-limit-requests"] == "5"


@pytest.mark.parametrize(
    ("path", "status", "code", "words"),
    [
        ("/nowhere", 404, "unknown_route", "described at /here"),
        ("/number/many", 400, "invalid_request", "number: "),
    ],
)
async def test_what_the_framework_refuses_is_an_error_object_too(
    path: str, status: int, code: str, words: str
) -> None:
    """Unknown routes and wrong values."""
    response = await get(path)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert words in error_of(response)["message"]


async def test_a_client_that_left_is_no_fault() -> None:
    """One line says so, and nothing is sent (which httpx's stand-in for a server does not expect)."""
    with structlog.testing.capture_logs() as lines, suppress(AssertionError):
        await get("/fault/left")
    assert [(line["event"], line["status"]) for line in lines] == [("http.request", 499)]


async def test_the_line_has_the_route_and_neither_query_nor_key() -> None:
    """Whatever is in the address or the headers."""
    with structlog.testing.capture_logs() as lines:
        await get("/number/7?token=secret", **{"X-API-Key": "secret"})
    [line] = lines
    assert (line["route"], line["status"], line["method"]) == ("/number/{number}", 200, "GET")
    assert "secret" not in repr(line)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer a"}, "a"),
        ({"X-API-Key": "b"}, "b"),
        ({"Authorization": "Bearer a", "X-API-Key": "b"}, "a"),
        ({"Authorization": "Basic YTpi", "X-API-Key": "b"}, "b"),
    ],
)
async def test_either_header_presents_the_key(headers: dict[str, str], key: str) -> None:
    """The bearer's goes first."""
    assert (await get("/key", **headers)).json() == key


async def test_no_key_is_a_401() -> None:
    """That says how to send one."""
    response = await get("/key", **{"X-API-Key": ""})
    assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key")
    assert "X-API-Key" in error_of(response)["message"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example/v1/messages?", "[::1"])
async def test_the_host_header_has_no_say(host: str) -> None:
    """Neither in what is answered nor in where it points to."""
    response = await get("/nowhere/", Host=host)
    assert (response.status_code, error_of(response)["code"]) == (404, "unknown_route")
    assert "GET /nowhere/; " in error_of(response)["message"]
    assert "evil" not in response.text + repr(response.headers)


@pytest.mark.parametrize("given", ["build-7.a:3", "x" * 64])
async def test_a_clients_own_id_is_the_requests(given: str) -> None:
    """In the header, in errors and in the log."""
    with structlog.testing.capture_logs() as lines:
        response = await get("/nowhere", **{"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == error_of(response)["request_id"] == given
    assert [line["request_id"] for line in lines] == [given]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "ü", "<b>", 'a"b'])
async def test_an_id_that_is_no_plain_one_is_not_taken_over(given: str) -> None:
    """A new one stands in its place."""
    response = await get("/nowhere", **{"X-Request-ID": given.encode()})
    assert str(uuid.UUID(response.headers["X-Request-ID"])) == error_of(response)["request_id"]

"""gzip for who takes it: the same bytes, streaming where they stream, and nothing that would not shrink."""

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from analytics.api.compression import Compression, takes_gzip
from tests.analytics.api.analysts import NUMBERS, app_of, catalogue_of, client_of
from tests.analytics.api.test_queries import NotedReader

ROWS = "/v1/analytics/queries/numbers/rows"
TEXT = b'{"rows":[' + b'{"model":"gpt-4o","cost_usd":0.123456789},' * 400 + b"{}]}"


def takes(text: str) -> bool:
    return takes_gzip(text)


@pytest.mark.parametrize(
    "header",
    ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "GZIP", "gzip;q=0.001"],
)
def test_who_takes_gzip(header: str) -> None:
    """Whatever else it takes."""
    assert takes(header)


@pytest.mark.parametrize(
    "header", ["", "identity", "br, zstd", "gzip;q=0", "gzip; q=0.0", "*;q=0", "gzip;q=0, *"]
)
def test_who_does_not(header: str) -> None:
    """A weight of nothing is a no."""
    assert not takes(header)


async def answered(
    body: bytes | Iterable[bytes], accept: str | None = "gzip", **headers: str
) -> tuple[Message, list[Message]]:
    """Return the start and the bodies of a response that goes through the middleware."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(body, bytes):
            await Response(body, headers={"content-type": "application/json", **headers})(
                scope, receive, send
            )
            return
        raw = [(b"content-type", b"text/csv; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        for piece in body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    given = [(b"accept-encoding", accept.encode())] if accept else []
    await Compression(app)({"type": "http", "headers": given}, receive, send)
    return sent[0], sent[1:]


def headers_of(start: Message) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in start["headers"]}


async def test_a_body_is_smaller_and_the_same() -> None:
    """Without a length that would be wrong, and caches know what it depends on."""
    start, bodies = await answered(TEXT)
    packed = b"".join(each["body"] for each in bodies)
    assert gzip.decompress(packed) == TEXT
    assert len(packed) < len(TEXT) / 10
    headers = headers_of(start)
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
    assert "content-length" not in headers


async def test_who_does_not_ask_gets_it_as_it_is() -> None:
    """And caches know that others may get it otherwise."""
    start, [body] = await answered(TEXT, accept=None)
    assert body["body"] == TEXT
    assert headers_of(start)["vary"] == "Accept-Encoding"
    assert "content-encoding" not in headers_of(start)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"rows":[]}', {}),
        (TEXT, {"content-type": "application/vnd.apache.arrow.stream"}),
        (TEXT, {"content-encoding": "br"}),
    ],
    ids=["small", "arrow", "compressed already"],
)
async def test_what_would_not_profit_goes_as_it_is(body: bytes, headers: dict[str, str]) -> None:
    """With its length."""
    start, [sent] = await answered(body, **headers)
    assert sent["body"] == body
    assert headers_of(start)["content-length"] == str(len(body))
    assert headers_of(start).get("content-encoding") == headers.get("content-encoding")


async def test_what_streams_goes_on_streaming() -> None:
    """After each piece the client has all of it, also of a small one."""
    pieces = [b"a,b\n", b"1,2\n" * 5000, b"3,4\n"]
    _, bodies = await answered(pieces)
    inflate, seen = zlib.decompressobj(wbits=31), b""
    for piece, body in zip(pieces, bodies, strict=False):
        assert inflate.decompress(body["body"]) == piece
        seen += piece
    assert inflate.decompress(bodies[-1]["body"]) == b""
    assert inflate.eof
    assert [each["more_body"] for each in bodies] == [True, True, True, False]


async def test_a_response_that_breaks_off_had_begun() -> None:
    """So that the server breaks the connection off, and does not answer with something else."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise ZeroDivisionError

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(ZeroDivisionError):
        await Compression(app)({"type": "http", "headers": [(b"accept-encoding", b"gzip")]}, receive, send)
    assert [each["type"] for each in sent] == ["http.response.start"]


async def test_the_api_compresses_rows_but_not_arrow(tmp_path: Path) -> None:
    """As a client sees it; errors too are what they were."""
    reader = NotedReader(TEXT)
    app = app_of(catalogue_of(tmp_path, numbers=NUMBERS), reader)
    async with client_of(app) as client:
        for form, encoding in (("json", "gzip"), ("csv", "gzip"), ("arrow", None)):
            response = await _get(client, form)
            assert response.headers.get("content-encoding") == encoding, form
            assert TEXT in response.content
        refused = await client.get(ROWS, params={"limit": "x"})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "limit"


async def _get(client: httpx.AsyncClient, form: str) -> httpx.Response:
    parameters: dict[str, Any] = {"format": form}
    return await client.get(ROWS, params=parameters, headers={"Accept-Encoding": "gzip"})

"""What is no HTTP/1.1 request, and what a server has no use for. A real server, real sockets."""

import pytest

from tests.streams.serving.raw_http import answer_to, error_of, headers_of, serving, status_of

HOST = b"Host: here\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown version": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "a version to come": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "no version": b"GET /\r\n" + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
    "a path for a host": b"GET / HTTP/1.1\r\nHost: here/v1/messages?\r\n\r\n",
    "half an address for a host": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\n" + HOST + b"A b\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\n" + HOST + b"A : b\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x00\r\n\r\n",
    "a bare CR": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rB: c\r\n\r\n",
    "UTF-8 in a name": b"GET / HTTP/1.1\r\n" + HOST + b"\xc3\xbc: b\r\n\r\n",
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "UTF-8 in the target": b"GET /\xc3\xbc HTTP/1.1\r\n" + HOST + b"\r\n",
    "no path": b"GET x HTTP/1.1\r\n" + HOST + b"\r\n",
    "a host for a target": b"GET http://elsewhere HTTP/1.1\r\n" + HOST + b"\r\n",
    "two lengths": CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "a length twice": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a signed length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
    "an endless length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "an unknown coding": CHUNKED.replace(b"chunked", b"gzip") + b"\r\nabc",
    "no size of a chunk": CHUNKED + b"\r\nxyz\r\n",
    "an endless chunk": CHUNKED + b"\r\nfffffffffffffffffffff\r\n",
    "a chunk too long": CHUNKED + b"\r\n1\r\nabc\r\n0\r\n\r\n",
    "another protocol": CHUNKED + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_malformed_is_a_400(request_: bytes) -> None:
    """As an error object, with an id, and as the last thing on the connection."""
    async with serving() as connect:
        response = await answer_to(connect, request_)
    assert (status_of(response), error_of(response)["code"]) == (400, "malformed_request")
    assert headers_of(response)["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("line", [b"FROB / HTTP/1.1", b"get / HTTP/1.1", b"CONNECT elsewhere:80 HTTP/1.1"])
async def test_a_method_that_nobody_has_is_a_405(line: bytes) -> None:
    """With those that there are."""
    async with serving() as connect:
        response = await answer_to(connect, line + b"\r\n" + HOST + b"\r\n")
    assert (status_of(response), error_of(response)["code"]) == (405, "method_not_allowed")
    assert "GET" in headers_of(response)["allow"]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: [::1]:8080\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: my_host.example:80\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: \xff\xc3\xbc\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    ],
    ids=[
        "HTTP/1.0",
        "an address",
        "a name",
        "an absolute target",
        "any bytes in a value",
        "a WebSocket",
        "empty lines before",
    ],
)
async def test_what_is_odd_and_allowed_is_served(request_: bytes) -> None:
    """RFC 9112 asks for it; another protocol is not spoken, which the client sees from the status."""
    async with serving() as connect:
        response = await answer_to(connect, request_)
    assert status_of(response) == 200
    assert response.endswith(b"0 bytes")

"""What ingest refuses before a route is asked. A real server, real sockets."""

import json

import pytest

from ingest.main import IngestHttp
from tests.streams.serving.raw_http import answer_to, error_of, headers_of, serving, status_of

TOO_MANY = b" HTTP/1.1\r\nHost: here\r\n" + b"X: 1\r\n" * 200 + b"\r\n"


@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/messages/batches?x=1"])
async def test_on_anthropics_routes_it_has_anthropics_shape(path: bytes) -> None:
    """So that their clients say what is wrong."""
    async with serving(protocol=IngestHttp) as connect:
        response = await answer_to(connect, b"POST " + path + TOO_MANY)
    body = json.loads(response.partition(b"\r\n\r\n")[2])
    assert (status_of(response), body["type"]) == (431, "error")
    assert (body["error"]["type"], body["error"]["code"]) == ("invalid_request_error", "headers_too_large")
    assert body["request_id"] == headers_of(response)["x-request-id"]


@pytest.mark.parametrize("path", [b"/v1/chat", b"/v1/messages-of-mine", b"/"])
async def test_elsewhere_it_has_openais(path: bytes) -> None:
    """As every other error."""
    async with serving(protocol=IngestHttp) as connect:
        response = await answer_to(connect, b"POST " + path + TOO_MANY)
    assert (status_of(response), error_of(response)["code"]) == (431, "headers_too_large")

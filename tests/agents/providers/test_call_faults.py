"""From what a call raises to faults, and what of it may be billed, as tables."""

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError, TransferEncodingError
from yarl import URL

from agents.providers.call_faults import fault_of, may_be_billed
from agents.providers.faults import (
    ConnectionLost,
    Malformed,
    ProviderFault,
    ProviderTimeout,
    RateLimited,
    Refused,
    ServerFault,
)
from agents.providers.http_client import StatusError
from agents.providers.provider import Timeouts

TIMEOUTS = Timeouts(connect_s=1, first_token_s=2, between_tokens_s=2, total_s=9)
KEY = ConnectionKey("127.0.0.1", 9, False, True, None, None, None)
ABOUT = aiohttp.RequestInfo(URL("http://h"), "POST", {}, URL("http://h"))  # type: ignore[arg-type]


def caused(error: Exception, cause: Exception) -> Exception:
    """The error as aiohttp's parser raises it."""
    error.__cause__ = cause
    return error


REFUSED = aiohttp.ClientConnectorError(KEY, OSError(111, "refused"))
NO_TUNNEL = aiohttp.ClientHttpProxyError(ABOUT, (), status=407)
UNPACKED = caused(aiohttp.ClientPayloadError("400"), ContentEncodingError("gzip"))
CUT = caused(aiohttp.ClientPayloadError("400"), TransferEncodingError("not enough data"))


def answered(status: int) -> StatusError:
    """The provider has answered with a status."""
    return StatusError(status, headers={"retry-after": "7"}, body=b'{"error": {"message": "busy"}}')


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (aiohttp.ConnectionTimeoutError(), "timeout_connect"),
        (REFUSED, "connection_lost"),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "unknown")), "connection_lost"),
        (aiohttp.ServerDisconnectedError(), "connection_lost"),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), "connection_lost"),
        (TimeoutError(110, "Connection timed out"), "connection_lost"),
        (CUT, "connection_lost"),
        (NO_TUNNEL, "connection_lost"),
        (aiohttp.InvalidURL("nowhere"), "connection_lost"),
        (UNPACKED, "malformed_response"),
        (aiohttp.ClientResponseError(ABOUT, (), status=400), "malformed_response"),
        (HttpProcessingError(message="bad"), "malformed_response"),
        (ValueError("not JSON"), "malformed_response"),
        (answered(503), "overloaded"),
        (answered(302), "server_error"),
    ],
)
def test_each_exception_is_one_fault(error: Exception, name: str) -> None:
    """Its class and what has caused it decide."""
    assert fault_of(error, TIMEOUTS).error == name


def test_an_error_response_is_told_in_the_providers_words() -> None:
    """With the wait that it asks for."""
    fault = fault_of(answered(429), TIMEOUTS)
    assert (type(fault), fault.message, fault.retry_after_s) == (RateLimited, "busy", 7)


@pytest.mark.parametrize(
    ("fault", "error", "billed"),
    [
        # sent, and no word of refusal: whatever becomes of the answer, it may be generated
        (ConnectionLost("x"), CUT, True),
        (ConnectionLost("x"), aiohttp.ServerDisconnectedError(), True),
        (ConnectionLost("x"), aiohttp.ClientOSError(104, "reset"), True),
        (ProviderTimeout("total", after_s=1), TimeoutError(), True),
        (ProviderTimeout("first_token", after_s=1), TimeoutError(), True),
        (Malformed("not JSON"), ValueError("not JSON"), True),
        (Malformed("not compressed"), UNPACKED, True),
        (Malformed("no HTTP"), HttpProcessingError(), True),
        (ServerFault("an error event"), answered(200), True),
        (ServerFault("redirects"), answered(302), True),
        # refused, or never there
        (ServerFault("500"), answered(500), False),
        (RateLimited("429"), answered(429), False),
        (Refused("400"), answered(400), False),
        (ConnectionLost("x"), REFUSED, False),
        (ConnectionLost("x"), NO_TUNNEL, False),
        (ConnectionLost("x"), aiohttp.InvalidURL("nowhere"), False),
        (ProviderTimeout("connect", after_s=1), aiohttp.ConnectionTimeoutError(), False),
        (Refused("a prompt that cannot be sent"), Refused("x"), False),
    ],
)
def test_what_may_be_billed(fault: ProviderFault, error: Exception, billed: bool) -> None:
    """What was sent and not refused; not what reached nobody or was refused."""
    assert may_be_billed(fault, error) is billed

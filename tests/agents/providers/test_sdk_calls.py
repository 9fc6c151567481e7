"""From error responses to faults, as a table."""

from datetime import UTC, datetime

import aiohttp
import httpx2
import pytest
from aiohttp.client_reqrep import ConnectionKey

from agents.providers.error_responses import fault_of_error, retry_after_s
from agents.providers.faults import (
    AuthenticationFault,
    ClientNotLoaded,
    ConnectionLost,
    ContextTooLong,
    Malformed,
    ModelUnavailable,
    Overloaded,
    ProviderFault,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFault,
)
from agents.providers.provider import Timeouts
from agents.providers.sdk_calls import may_be_billed, transport_fault

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
TIMEOUTS = Timeouts(connect_s=1, first_token_s=2, between_tokens_s=2, total_s=9)


def caused(error: Exception, cause: Exception) -> Exception:
    """The error as the clients' transport raises it."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("status", "message", "kind", "code", "fault"),
    [
        (400, "bad", "invalid_request_error", "invalid_value", Refused),
        (400, "bad", "invalid_request_error", "context_length_exceeded", ContextTooLong),
        (400, "prompt is too long: 9 tokens > 8 maximum", "invalid_request_error", None, ContextTooLong),
        (401, "key", "authentication_error", None, AuthenticationFault),
        (402, "pay", "billing_error", None, QuotaExhausted),
        (403, "no", "permission_error", None, AuthenticationFault),
        (403, "no access to model", None, "model_not_found", ModelUnavailable),
        (404, "model: x", "not_found_error", None, ModelUnavailable),
        (408, "slow", None, None, ServerFault),
        (413, "large", "request_too_large", None, ContextTooLong),
        (422, "what", None, None, Refused),
        (429, "slow down", "rate_limit_error", None, RateLimited),
        (429, "pay", "insufficient_quota", "insufficient_quota", QuotaExhausted),
        (500, "boom", "api_error", None, ServerFault),
        (503, "busy", None, None, Overloaded),
        (504, "late", None, None, ServerFault),
        (529, "busy", "overloaded_error", None, Overloaded),
        (307, "", None, None, ServerFault),
    ],
)
def test_each_error_is_one_fault(
    status: int, message: str, kind: str | None, code: str | None, fault: type[ProviderFault]
) -> None:
    """Status, type and code decide."""
    assert type(fault_of_error({"message": message, "type": kind, "code": code}, status=status)) is fault


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 08:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Fri, 20 Nov 99999999999999999999 09:00:30 GMT"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:30 +9999999999"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds, dates; nonsense is as good as nothing."""
    assert retry_after_s(headers, NOW) == seconds


def test_a_timeout_while_connecting_says_so() -> None:
    """So does waiting for a free connection."""
    for cause in (
        httpx2.ConnectTimeout("x"),
        httpx2.PoolTimeout("x"),
        caused(httpx2.ConnectTimeout("x"), aiohttp.ConnectionTimeoutError()),
    ):
        assert transport_fault(cause, TIMEOUTS).error == "timeout_connect"
    for cause in (httpx2.ReadTimeout("x"), caused(httpx2.ReadTimeout("x"), aiohttp.SocketTimeoutError())):
        assert transport_fault(cause, TIMEOUTS).error == "timeout_total"


@pytest.mark.parametrize(
    "first", [aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError(104, "Connection reset by peer")]
)
def test_a_connection_that_breaks_is_no_timeout(first: aiohttp.ClientError) -> None:
    """Its transport calls it one."""
    fault = transport_fault(caused(httpx2.ConnectTimeout("x"), first), TIMEOUTS)
    assert isinstance(fault, ConnectionLost)
    assert type(first).__name__ in fault.message


class Spoken(Exception):
    """An error of either client: the provider has answered with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status_code = status


def _refused() -> httpx2.TransportError:
    key = ConnectionKey("127.0.0.1", 9, False, True, None, None, None)
    return caused(httpx2.ConnectTimeout("x"), aiohttp.ClientConnectorError(key, OSError(111, "refused")))


@pytest.mark.parametrize(
    ("fault", "error", "billed"),
    [
        # sent, and no word of refusal: whatever becomes of the answer, it may be generated
        (ConnectionLost("x"), caused(httpx2.ReadError("x"), aiohttp.ClientPayloadError("cut")), True),
        (ConnectionLost("x"), caused(httpx2.ConnectTimeout("x"), aiohttp.ServerDisconnectedError()), True),
        (ConnectionLost("x"), caused(httpx2.ConnectTimeout("x"), aiohttp.ClientOSError(104, "reset")), True),
        (ProviderTimeout("total", after_s=1), TimeoutError(), True),
        (ProviderTimeout("first_token", after_s=1), TimeoutError(), True),
        (Malformed("not JSON"), ValueError("not JSON"), True),
        (ServerFault("an error event"), Spoken(200), True),
        # refused, or never there
        (ServerFault("500"), Spoken(500), False),
        (RateLimited("429"), Spoken(429), False),
        (Refused("400"), Spoken(400), False),
        (ConnectionLost("x"), _refused(), False),
        (ConnectionLost("x"), httpx2.ConnectError("refused"), False),
        (ProviderTimeout("connect", after_s=1), httpx2.ConnectTimeout("late"), False),
        (ClientNotLoaded("x"), ClientNotLoaded("x"), False),
        (Refused("a prompt that cannot be sent"), Refused("x"), False),
    ],
)
def test_what_may_be_billed(fault: ProviderFault, error: Exception, billed: bool) -> None:
    """What was sent and not refused; not what reached nobody or was refused."""
    assert may_be_billed(fault, error) is billed

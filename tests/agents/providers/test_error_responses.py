"""From error responses to faults, as a table."""

from datetime import UTC, datetime

import pytest

from agents.providers.error_responses import fault_of_error, retry_after_s
from agents.providers.faults import (
    AuthenticationFault,
    ContextTooLong,
    ModelUnavailable,
    Overloaded,
    ProviderFault,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFault,
)

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


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

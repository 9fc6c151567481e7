"""How a reply reads over HTTP."""

from decimal import Decimal

import msgspec
import pytest

from ingest.errors import api_error, as_repeat, error_of, is_blocked_output, is_charged, status_of, timed_out
from streams.events import ErrorInfo, Reply, Status
from tests.ingest.fakes import answered, blocked, failed


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("invalid_request_error", "context_length_exceeded", 400),
        ("invalid_request_error", "content_filter", 400),
        ("invalid_request_error", "model_not_found", 404),
        ("invalid_request_error", "idempotency_conflict", 409),
        ("invalid_request_error", "request_cancelled", 409),
        ("timeout_error", "deadline_exceeded", 504),
        ("unavailable_error", "dependency_unavailable", 503),
        ("rate_limit_error", "rate_limit_exceeded", 429),
        ("api_error", "internal_error", 500),
        ("api_error", "model_not_found", 500),
        ("something_new", "x", 500),
    ],
)
def test_status_of(kind: str, code: str, status: int) -> None:
    """Each error type has its status; a type that is not known is our fault, not the client's."""
    assert status_of(ErrorInfo(type=kind, code=code, message="m")) == status


@pytest.mark.parametrize(
    "reply",
    [
        answered(),
        answered(status=Status.CACHED, cache_hit=True),
        answered(status=Status.DEGRADED, error=ErrorInfo(type="api_error", code="x", message="m")),
        answered(status=Status.BLOCKED, finish_reason="content_filter"),
    ],
)
def test_replies_with_an_answer_are_no_errors(reply: Reply) -> None:
    """Answered, cached, degraded, and an answer that the output check replaced."""
    assert error_of(reply) is None


def test_a_blocked_request_is_the_clients_error() -> None:
    """It says why, under the code that OpenAI has for it."""
    error = error_of(blocked())
    assert error == ErrorInfo(
        type="invalid_request_error", code="content_filter", message="Potential prompt injection detected"
    )


def test_a_failed_reply_without_an_error_still_has_one() -> None:
    """A pipeline that says no more than that it failed is answered with a 500."""
    error = error_of(Reply(request_id="r", status=Status.FAILED))
    assert error is not None
    assert status_of(error) == 500


@pytest.mark.parametrize("param", [None, "deadline_ms"], ids=["queue", "llm_stage"])
def test_a_deadline_that_has_passed_is_named_wherever_it_was_noticed(param: str | None) -> None:
    """Every 504 has the same `param`: that of ingest's own clock too."""
    error = error_of(failed("timeout_error", "deadline_exceeded", param=param))
    assert error is not None
    assert error.param == timed_out("r", 1).error.param == "deadline_ms"


def test_a_cancelled_request_is_an_error() -> None:
    """There is no answer, and the client reads why."""
    error = error_of(Reply(request_id="r", status=Status.CANCELLED))
    assert error is not None
    assert error.code == "request_cancelled"


def test_blocked_output_is_recognised_by_its_replacement() -> None:
    """A content filter with text is an answer that was replaced; without text there is no answer."""
    assert is_blocked_output(answered(finish_reason="content_filter"))
    assert not is_blocked_output(answered(content="", finish_reason="content_filter"))


@pytest.mark.parametrize(
    ("kind", "header", "present"),
    [
        ("unavailable_error", "Retry-After", True),
        ("rate_limit_error", "Retry-After", True),
        ("timeout_error", "x-should-retry", True),
        ("api_error", "Retry-After", False),
        ("invalid_request_error", "Retry-After", False),
    ],
)
def test_headers_tell_clients_whether_to_retry(kind: str, header: str, present: bool) -> None:
    """Where a retry helps it says when; where it would ask twice it says not to."""
    fault = api_error(failed(kind, "x").error or ErrorInfo(type="", code="", message=""))
    assert (header in fault.headers) is present


@pytest.mark.parametrize(
    "reply",
    [failed("api_error", "internal_error"), failed("unavailable_error", "x"), failed("timeout_error", "x")],
)
def test_nobody_is_made_to_pay_again(reply: Reply) -> None:
    """The official clients repeat a 5xx twice by themselves: what was charged tells them not to."""
    charged = msgspec.structs.replace(reply, cost_usd=Decimal("0.00012300"))
    assert is_charged(charged)
    error = error_of(charged)
    assert error is not None
    assert error.message.endswith("charged: 0.000123 USD")
    fault = api_error(error, charged=True)
    assert fault.headers["x-should-retry"] == "false"
    assert "Retry-After" not in fault.headers
    free = error_of(reply)
    assert free is not None
    assert "charged" not in free.message


def test_a_stored_reply_is_marked() -> None:
    """Nothing else of it changes."""
    assert as_repeat(answered()) == answered(repeat=True)

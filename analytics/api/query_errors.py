"""Turns the faults of a query into error objects that say what to change."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from analytics.reports.catalogue import UnknownQuery
from analytics.reports.query_service import TenantNotAllowed
from analytics.reports.query_slots import TooManyQueries
from analytics.reports.reader_faults import QueryFault, Reason
from streams.errors import ClickHouseUnavailable, InputError
from streams.events import ErrorInfo
from streams.serving.errors import NO_RETRY, ApiError, invalid, not_found, outage, unavailable

log = structlog.get_logger(__name__)

_NARROW = "ask for less: a shorter time between since and until, a lower limit, or one tenant"
_BUSY_RETRY_S = 5.0

_TOO_LARGE: Final = {
    Reason.RESULT_TOO_LARGE: ("result_too_large", "the result is larger than one answer may be"),
    Reason.TOO_MUCH_MEMORY: ("query_too_large", "the query looks at more than one query may"),
}
_NOT_NOW: Final = {
    Reason.BUSY: ("overloaded", "ClickHouse is busy; try again in a moment"),
    Reason.NOT_READY: ("service_unavailable", "the tables are not there yet; try again in a moment"),
    Reason.MISCONFIGURED: (
        "reader_not_available",
        "there is no ClickHouse user who can only read; the log of `headrace analytics` says what is missing",
    ),
}


@contextmanager
def faults_as_errors(query: str) -> Iterator[None]:
    """Turn what a query may raise into `ApiError`; `query` is its name, for the log."""
    try:
        yield
    except UnknownQuery as fault:
        raise not_found(fault.message, code=fault.code, param=fault.param) from fault
    except TenantNotAllowed as fault:
        error = ErrorInfo(type="permission_error", code=fault.code, message=fault.message, param=fault.param)
        raise ApiError(403, error) from fault
    except InputError as fault:
        status = 406 if fault.code == "not_acceptable" else 400
        raise invalid(fault.message, code=fault.code, param=fault.param, status=status) from fault
    except TooManyQueries as fault:
        raise _crowded(fault) from fault
    except ClickHouseUnavailable as fault:
        log.warning("analysts.unavailable", query=query, error=str(fault))
        raise outage(fault, "ClickHouse") from fault
    except QueryFault as fault:
        raise _failed(query, fault) from fault


def _crowded(fault: TooManyQueries) -> ApiError:
    if not fault.own:
        return unavailable(str(fault), code="overloaded", retry_after_s=fault.retry_after_s)
    error = ErrorInfo(type="rate_limit_error", code="too_many_queries", message=str(fault))
    return ApiError(429, error, headers={"Retry-After": str(round(fault.retry_after_s))})


def _failed(query: str, fault: QueryFault) -> ApiError:
    """Return the error of a query that ClickHouse did not answer. ClickHouse's message is logged only."""
    reason = fault.reason
    log.warning("analysts.query_failed", query=query, reason=reason, error=str(fault))
    if reason is Reason.TOO_SLOW:
        message = f"the query takes longer than one may: {_NARROW}"
        error = ErrorInfo(type="timeout_error", code="query_timeout", message=message, param="since")
        return ApiError(504, error, headers=NO_RETRY)
    if reason in _TOO_LARGE:
        code, what = _TOO_LARGE[reason]
        return invalid(f"{what}: {_NARROW}", code=code, param="since")
    if reason is Reason.WRONG_PARAMETER:
        return invalid("a parameter's value does not have its type; the query's documentation has the types")
    if reason in _NOT_NOW:
        code, what = _NOT_NOW[reason]
        return unavailable(what, code=code, retry_after_s=_BUSY_RETRY_S)
    message = f"the query {query} failed; the log of `headrace analytics` has the reason"
    return ApiError(500, ErrorInfo(type="api_error", code="query_failed", message=message))

"""Why a query failed, from ClickHouse's error codes."""

from enum import StrEnum
from typing import Final

from streams.errors import HeadraceError


class Reason(StrEnum):
    """The kind of failure, by what is to be done."""

    TOO_SLOW = "too_slow"  # it takes too long: ask for less
    RESULT_TOO_LARGE = "result_too_large"  # too many rows or bytes come out: ask for less
    TOO_MUCH_MEMORY = "too_much_memory"  # too much is looked at: ask for less
    WRONG_PARAMETER = "wrong_parameter"  # a value does not have its parameter's type
    BUSY = "busy"  # ClickHouse has too much to do: try again
    NOT_READY = "not_ready"  # the schema is not there yet: try again
    MISCONFIGURED = "misconfigured"  # the reader's user, password or rights: an operator's matter
    BROKEN = "broken"  # the query itself: a mistake of ours


class QueryFault(HeadraceError):
    """A query failed; `reason` says what is to be done."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


#: From ClickHouse's `src/Common/ErrorCodes.cpp`.
_REASONS: Final = {
    60: Reason.NOT_READY,  # UNKNOWN_TABLE
    81: Reason.NOT_READY,  # UNKNOWN_DATABASE
    115: Reason.MISCONFIGURED,  # UNKNOWN_SETTING
    158: Reason.TOO_MUCH_MEMORY,  # TOO_MANY_ROWS (to read)
    159: Reason.TOO_SLOW,  # TIMEOUT_EXCEEDED
    160: Reason.TOO_SLOW,  # TOO_SLOW
    164: Reason.MISCONFIGURED,  # READONLY
    192: Reason.MISCONFIGURED,  # UNKNOWN_USER
    193: Reason.MISCONFIGURED,  # WRONG_PASSWORD
    194: Reason.MISCONFIGURED,  # REQUIRED_PASSWORD
    202: Reason.BUSY,  # TOO_MANY_SIMULTANEOUS_QUERIES
    209: Reason.TOO_SLOW,  # SOCKET_TIMEOUT
    307: Reason.TOO_MUCH_MEMORY,  # TOO_MANY_BYTES (to read)
    394: Reason.BUSY,  # QUERY_WAS_CANCELLED: by an operator, or at a shutdown
    396: Reason.RESULT_TOO_LARGE,  # TOO_MANY_ROWS_OR_BYTES
    452: Reason.MISCONFIGURED,  # SETTING_CONSTRAINT_VIOLATION
    457: Reason.WRONG_PARAMETER,  # BAD_QUERY_PARAMETER
    497: Reason.MISCONFIGURED,  # ACCESS_DENIED
    516: Reason.MISCONFIGURED,  # AUTHENTICATION_FAILED
}
_MEMORY_LIMIT_EXCEEDED: Final = 241


def fault_of(code: int | None, text: str) -> QueryFault:
    """Return the fault for an error that ClickHouse answered with."""
    if code == _MEMORY_LIMIT_EXCEEDED:
        # "(total)" is the server's limit: others' queries and inserts count too.
        reason = Reason.BUSY if "(total)" in text else Reason.TOO_MUCH_MEMORY
    else:
        reason = _REASONS.get(code or 0, Reason.BROKEN)
    return QueryFault(reason, text)

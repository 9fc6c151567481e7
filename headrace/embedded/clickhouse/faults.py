"""A failed query, as the server reports it: code, name, text and HTTP status."""

from __future__ import annotations

import re
from typing import Self

from headrace.embedded.errors import EmbeddedError

_CODE = re.compile(r"Code: (\d+)\.")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*(?:\(version [^)]*\)\.?\s*)?$")
_UNKNOWN_EXCEPTION = 1002

_BAD_REQUEST = frozenset({
    "BAD_ARGUMENTS", "CANNOT_COMPILE_REGEXP", "CANNOT_PARSE_DATE", "CANNOT_PARSE_DATETIME",
    "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING", "CANNOT_PARSE_ESCAPE_SEQUENCE",
    "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "CANNOT_PARSE_IPV4", "CANNOT_PARSE_IPV6",
    "CANNOT_PARSE_NUMBER", "CANNOT_PARSE_QUOTED_STRING", "CANNOT_PARSE_TEXT", "CANNOT_PARSE_UUID",
    "DUPLICATE_COLUMN", "ILLEGAL_COLUMN", "INCORRECT_DATA", "SYNTAX_ERROR", "THERE_IS_NO_COLUMN",
    "TOO_BIG_AST", "TOO_DEEP_AST", "TYPE_MISMATCH", "UNEXPECTED_AST_STRUCTURE",
    "UNKNOWN_ELEMENT_IN_AST", "UNKNOWN_TYPE_OF_AST_NODE", "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
})  # fmt: skip
_NOT_FOUND = frozenset({
    "NO_ELEMENTS_IN_CONFIG", "UNKNOWN_AGGREGATE_FUNCTION", "UNKNOWN_DATABASE", "UNKNOWN_DATABASE_ENGINE",
    "UNKNOWN_DIRECTION_OF_SORTING", "UNKNOWN_FORMAT", "UNKNOWN_FUNCTION", "UNKNOWN_IDENTIFIER",
    "UNKNOWN_SETTING", "UNKNOWN_STORAGE", "UNKNOWN_TABLE", "UNKNOWN_TYPE",
    "UNKNOWN_TYPE_OF_QUERY",
})  # fmt: skip
# The server's exceptionCodeToHTTPStatus; what is not named there is 500. One difference: a full queue
# is 503 here and 500 there, so that clients know that trying again helps.
_STATUS = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    "REQUIRED_PASSWORD": 401,
    "AUTHENTICATION_FAILED": 403,
    "UNKNOWN_USER": 403,
    "WRONG_PASSWORD": 403,
    "SET_NON_GRANTED_ROLE": 403,
    "TIMEOUT_EXCEEDED": 408,
    "HTTP_LENGTH_REQUIRED": 411,
    "QUERY_IS_TOO_LARGE": 413,
    "NOT_IMPLEMENTED": 501,
    "CANNOT_OPEN_FILE": 503,
    "CANNOT_SCHEDULE_TASK": 503,
    "SOCKET_TIMEOUT": 503,
    "TOO_MANY_SIMULTANEOUS_QUERIES": 503,
}


class QueryFailed(EmbeddedError):
    """A statement that the engine, or this server in its place, refused.

    Attributes:
        code: ClickHouse's number, such as 60.
        name: ClickHouse's name, such as UNKNOWN_TABLE.
        message: The whole text in the server's form, without the version.
    """

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.name = name
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that the server gives to this error."""
        return _STATUS.get(self.name, 500)

    @classmethod
    def of(cls, code: int, name: str, text: str) -> Self:
        """An error of our own, in the engine's words."""
        return cls(code, name, f"Code: {code}. DB::Exception: {text}. ({name})")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the engine's text, such as "Code: 60. DB::Exception: … (UNKNOWN_TABLE)"."""
        code = _CODE.search(text)
        name = _NAME.search(text)
        if code is None:
            text = f"Code: {_UNKNOWN_EXCEPTION}. DB::Exception: {text} (UNKNOWN_EXCEPTION)"
        return cls(
            int(code[1]) if code else _UNKNOWN_EXCEPTION,
            name[1] if name else "UNKNOWN_EXCEPTION",
            text,
        )

"""A failed query as ClickHouse reports it: code, name, message, and the HTTP status."""

import re
from typing import Self

from headrace.embedded.errors import EmbeddedError

_CODE = re.compile(r"Code: (\d+)\.")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*(?:\(version [^)]*\)\.?\s*)?$")
_UNKNOWN_EXCEPTION = "UNKNOWN_EXCEPTION"

#: The errors that this server raises itself, from ClickHouse's `src/Common/ErrorCodes.cpp`.
_OWN_CODES = {
    "NOT_IMPLEMENTED": 48,
    "SYNTAX_ERROR": 62,
    "UNKNOWN_SETTING": 115,
    "INCORRECT_DATA": 117,
    "REQUIRED_PASSWORD": 194,
    "TOO_MANY_SIMULTANEOUS_QUERIES": 202,
    "INTO_OUTFILE_NOT_ALLOWED": 358,
    "SETTING_CONSTRAINT_VIOLATION": 452,
    "ACCESS_DENIED": 497,
    "AUTHENTICATION_FAILED": 516,
    _UNKNOWN_EXCEPTION: 1002,
}
#: As the server's `exceptionCodeToHTTPStatus`, for the errors that tell a client what to do. One
#: difference: a full queue is 503 here and 500 there, so that clients try again.
_STATUS = {
    "BAD_ARGUMENTS": 400,
    "INCORRECT_DATA": 400,
    "SYNTAX_ERROR": 400,
    "TYPE_MISMATCH": 400,
    "REQUIRED_PASSWORD": 401,
    "AUTHENTICATION_FAILED": 403,
    "TIMEOUT_EXCEEDED": 408,
    "UNKNOWN_EXCEPTION": 500,
    "NOT_IMPLEMENTED": 501,
    "TOO_MANY_SIMULTANEOUS_QUERIES": 503,
}


class QueryError(EmbeddedError):
    """A query that the engine, or any function of this package in its place, refuses.

    `code` and `name` are ClickHouse's, such as 60 and UNKNOWN_TABLE; `message` is the whole text as the
    server writes it, without the version.
    """

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.name = name
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status of this error."""
        if self.name in _STATUS:
            return _STATUS[self.name]
        if self.name.startswith("UNKNOWN_"):
            return 404
        return 400 if self.name.startswith("CANNOT_PARSE_") else 500

    @classmethod
    def of(cls, name: str, text: str) -> Self:
        """An error of this server, in the engine's form; `name` is one of `_OWN_CODES`."""
        code = _OWN_CODES[name]
        return cls(code, name, f"Code: {code}. DB::Exception: {text}. ({name})")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the engine's text, such as "Code: 60. DB::Exception: … (UNKNOWN_TABLE)"."""
        code = _CODE.search(text)
        name = _NAME.search(text)
        if code is None:
            return cls.of(_UNKNOWN_EXCEPTION, text)
        return cls(int(code[1]), name[1] if name else _UNKNOWN_EXCEPTION, text)

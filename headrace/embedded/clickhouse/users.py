"""The two users, their passwords, and the limits of the one who may only read."""

import base64
import binascii
import hmac
from collections.abc import Mapping

import msgspec

from headrace.embedded.clickhouse.query_error import QueryError

OWNER = "default"
READER = "reader"

READER_LIMITS: Mapping[str, int] = {
    "max_execution_time": 60,
    "max_memory_usage": 2 << 30,
    "max_result_bytes": 1 << 30,
    "max_bytes_to_read": 100 << 30,
}
"""Seconds and bytes. A reader may ask for less, not for more."""


class Passwords(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The users that there are. `reader` None: there is no such user."""

    owner: str
    reader: str | None = None

    def __repr__(self) -> str:
        """Without the passwords."""
        return "Passwords(…)"

    def authenticate(self, headers: Mapping[str, str]) -> str:
        """Check the credentials of a request."""
        given = _credentials(headers)
        user, password = given or (OWNER, "")
        wanted = {OWNER: self.owner, READER: self.reader}.get(user)
        if wanted and hmac.compare_digest(wanted.encode(), password.encode()):
            return user
        if given is None:
            raise QueryError.of("REQUIRED_PASSWORD", f"{user}: a password is required")
        raise QueryError.of(
            "AUTHENTICATION_FAILED",
            f"{user}: Authentication failed: password is incorrect, or there is no user with such name",
        )


def reader_settings(asked: Mapping[str, str]) -> dict[str, str]:
    """A reader's settings: those asked for, within the limits, and nothing can be written."""
    for name, limit in READER_LIMITS.items():
        value = asked.get(name)
        # Python reads no number of thousands of digits; 18 are more than any limit has.
        if value is not None and not (value.isdecimal() and len(value) <= 18 and 0 < int(value) <= limit):
            raise QueryError.of(
                "SETTING_CONSTRAINT_VIOLATION",
                f"Setting {name} shouldn't be greater than {limit}",
            )
    limits = {name: str(limit) for name, limit in READER_LIMITS.items()}
    return {**limits, **asked, "readonly": "1"}


def _credentials(headers: Mapping[str, str]) -> tuple[str, str] | None:
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", OWNER), headers.get("x-clickhouse-key", "")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    return None

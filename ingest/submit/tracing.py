"""The W3C trace context of a request: the client's where it sent one, else the beginning of a trace."""

import re
import secrets

# https://www.w3.org/TR/trace-context/#traceparent-header, version 00; all-zero ids are invalid.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(header: str | None) -> str:
    """Return the client's `traceparent` if it is valid, else a new, sampled one."""
    if header and _TRACEPARENT.fullmatch(header):
        return header
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"

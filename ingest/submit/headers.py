"""HTTP headers: what a request says in them, and what a response to it says of its answer."""

import re
import secrets
from collections.abc import Mapping
from typing import Literal, cast

from streams.events import MAX_DEADLINE_MS, CacheKind, Reply
from streams.request_rules.bounds import MAX_NAME_CHARS, check_at_most, has_control_character
from streams.request_rules.cache_directives import known_directives
from streams.serving.errors import REPLAYED, invalid

CACHE_KIND_HEADER = "X-Headrace-Cache"
MODEL_HEADER = "X-Headrace-Model"
MAX_IDEMPOTENCY_KEY_CHARS = 255
#: The official SDKs send it: 0 with the first attempt of a call, then 1, 2.
RETRY_COUNT_HEADER = "x-stainless-retry-count"

# https://www.w3.org/TR/trace-context/#traceparent-header, version 00; all-zero ids are invalid.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

OnDisconnect = Literal["continue", "cancel"]


def header_text(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header; None if it is absent, 400 if it is not UTF-8, or has control characters."""
    text = headers.get(name)
    if text is None:
        return None
    try:
        text = text.encode("latin-1").decode()  # Starlette decodes headers as Latin-1
    except UnicodeDecodeError:
        raise invalid(f"{name} must be UTF-8", param=name) from None
    if has_control_character(text):
        raise invalid(f"{name}: line ends and other control characters are not allowed", param=name)
    return text


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Return the `Idempotency-Key`; 400 if it is empty, or longer than `MAX_IDEMPOTENCY_KEY_CHARS`."""
    name = "Idempotency-Key"
    key = header_text(headers, name)
    if key is not None and not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARS:
        raise invalid(f"{name} must have 1 to {MAX_IDEMPOTENCY_KEY_CHARS} characters", param=name)
    return key


def sdk_retry_count(headers: Mapping[str, str]) -> int | None:
    """Return how many attempts an SDK has made before this one; None if the client does not say."""
    text = headers.get(RETRY_COUNT_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else None


def deadline_header(headers: Mapping[str, str]) -> int | None:
    """Return `X-Headrace-Deadline-Ms`; 400 if it is not a number from 1 to `MAX_DEADLINE_MS`."""
    name = "X-Headrace-Deadline-Ms"
    text = headers.get(name)
    if text is None:
        return None
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
    if not 1 <= value <= MAX_DEADLINE_MS:
        words = f"{name} must be a whole number of milliseconds from 1 to {MAX_DEADLINE_MS}"
        raise invalid(words, param=name)
    return value


def on_disconnect_header(headers: Mapping[str, str]) -> OnDisconnect | None:
    """Return `X-Headrace-On-Disconnect`; 400 if it is neither `continue` nor `cancel`."""
    name = "X-Headrace-On-Disconnect"
    text = headers.get(name)
    if text not in (None, "continue", "cancel"):
        raise invalid(f"{name} must be continue or cancel", param=name)
    return cast("OnDisconnect | None", text)


def user_header(headers: Mapping[str, str]) -> str | None:
    """Return the user id from `X-Headrace-User`, or None; 400 if it is longer than `MAX_NAME_CHARS`."""
    name = "X-Headrace-User"
    user = header_text(headers, name)
    check_at_most(len(user or ""), MAX_NAME_CHARS, name, " characters")
    return user or None


def cache_header(headers: Mapping[str, str]) -> str | None:
    """Return what `Cache-Control` asks of the answer cache, as the field `headrace_cache` spells it."""
    given = headers.get("cache-control")
    return None if given is None else known_directives(given)


def traceparent_of(header: str | None) -> str:
    """Return the client's W3C `traceparent` if it is valid, else a new, sampled one."""
    if header and _TRACEPARENT.fullmatch(header):
        return header
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def answer_headers(reply: Reply | None, kind: CacheKind | None = None) -> dict[str, str]:
    """Return the response headers that say where an answer comes from; before the reply, `kind` says it."""
    if reply is None:
        return {CACHE_KIND_HEADER: kind.value} if kind else {}
    found = {
        CACHE_KIND_HEADER: reply.cache_kind.value if reply.cache_kind else None,
        MODEL_HEADER: reply.model,
        # The age of a repeated reply is not known: the cache counted it when the request was first answered.
        "Age": None if reply.cache_age_s is None or reply.repeat else str(reply.cache_age_s),
    }
    printable = {
        name: value for name, value in found.items() if value and value.isascii() and value.isprintable()
    }
    return printable | (REPLAYED if reply.repeat else {})

"""Reads a request's headers and body, within limits of size and time; writes the headers of its answer.

An error names the wrong header or field.
"""

import asyncio
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, TypeVar, cast

import msgspec
from starlette.requests import Request

from ingest.errors import as_api_error
from streams.events import MAX_DEADLINE_MS, CacheKind, Reply
from streams.request_rules.cache_directives import known_directives
from streams.request_rules.chat import MAX_JSON_DEPTH
from streams.request_rules.faults import MAX_NAME_CHARS, check_at_most, explain, has_control_character
from streams.request_rules.parameter_table import OPENAI_PATHS, Parameter
from streams.serving.responses import REPLAYED, ApiError, invalid

CACHE_KIND_HEADER = "X-Headrace-Cache"
MODEL_HEADER = "X-Headrace-Model"
MAX_IDEMPOTENCY_KEY_CHARS = 255
#: The official SDKs send it: 0 with the first attempt of a call, then 1, 2.
RETRY_COUNT_HEADER = "x-stainless-retry-count"

# https://www.w3.org/TR/trace-context/#traceparent-header, version 00; all-zero ids are invalid.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

OnDisconnect = Literal["continue", "cancel"]
B = TypeVar("B", bound=msgspec.Struct)
#: The longest body that is allowed takes this long at 70 kB/s, in seconds.
BODY_TIMEOUT_S = 30.0
#: A content-length of more digits is above every limit.
_LENGTH_DIGITS = 15
#: zlib's `wbits` to try for a coding: deflate has a header (RFC 9110) or, from some clients, none.
_ZLIB_WINDOWS: Final[Mapping[str, Sequence[int]]] = {
    "": (),
    "identity": (),
    "gzip": (31,),
    "x-gzip": (31,),
    "deflate": (15, -15),
}
#: From this size on a body is decompressed in a thread.
_LONG_BYTES: Final = 65_536
_SERVER_OWNED = {
    "tenant": "the tenant comes from the API key",
    "tier": "the tier comes from the API key",
    "accepted_at": "the time of acceptance is taken here",
    "request_id": "send your own id in the header Idempotency-Key",
    "webhook": "it goes with POST /v1/requests, where nobody waits for the answer",
}


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


async def read_body(request: Request, *, max_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """Return the body of a request, decompressed.

    Raises `ApiError`: 413, the body is longer than `max_bytes`, as it comes or decompressed, whatever its
    headers say; 408, it has not come within `timeout_s` seconds; 415, it is compressed in an unknown way;
    400, it is not what its `Content-Encoding` says.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in _ZLIB_WINDOWS:
        raise _unread(
            f"the Content-Encoding {coding[:64]!r} is not taken: send the body as gzip or deflate, or plain",
            code="unsupported_body_encoding",
            param="Content-Encoding",
            status=415,
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    try:
        async with asyncio.timeout(timeout_s):
            data = await _read(request, max_bytes)
    except TimeoutError:
        words = f"the body did not arrive within {timeout_s:g} s"
        raise _unread(words, code="request_timeout", status=408) from None
    windows = _ZLIB_WINDOWS[coding]
    if not windows:
        return data
    if len(data) > _LONG_BYTES:
        return await asyncio.to_thread(_decompressed, data, coding, windows, max_bytes)
    return _decompressed(data, coding, windows, max_bytes)


def _decompressed(data: bytes, coding: str, windows: Sequence[int], max_bytes: int) -> bytes:
    for window in windows:
        member = zlib.decompressobj(window)
        try:
            whole = member.decompress(data, max_bytes + 1)
        except zlib.error:
            continue
        if len(whole) > max_bytes:
            raise _too_large(max_bytes)
        if member.eof and not member.unused_data:
            return whole
    raise invalid(
        f"the body is not one whole {coding} stream, as its Content-Encoding says",
        code="invalid_body_encoding",
        param="Content-Encoding",
    )


async def _read(request: Request, max_bytes: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > _LENGTH_DIGITS or int(length) > max_bytes):
        raise _too_large(max_bytes)
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(read)


def decode_body(
    data: bytes,
    kind: type[B],
    *,
    table: Mapping[str, Parameter] = OPENAI_PATHS,
    hints: Mapping[str, str] = MappingProxyType({}),
) -> B:
    """Return the body as `kind`; a 400 says where it is wrong, by `table` and `hints` as in `explain`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as fault:
        raise as_api_error(
            explain(fault, data, kind, table=table, hints={**_SERVER_OWNED, **hints})
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise invalid(f"the body is not valid JSON: {fault}", code="invalid_json") from None
    except RecursionError:
        raise too_deep() from None


def too_deep(param: str | None = None) -> ApiError:
    """Return the 400 for JSON that is nested deeper than `MAX_JSON_DEPTH`."""
    where = f"{param} is" if param else "the body is"
    return invalid(f"{where} nested deeper than {MAX_JSON_DEPTH} levels", code="invalid_json", param=param)


def _too_large(max_bytes: int) -> ApiError:
    return _unread(f"the body is longer than {max_bytes} bytes", code="request_too_large", status=413)


def _unread(
    message: str,
    *,
    code: str,
    status: int,
    param: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> ApiError:
    """Return an error after which the connection is closed, because the rest of the body is not read."""
    return invalid(message, code=code, param=param, status=status, headers={"Connection": "close", **headers})

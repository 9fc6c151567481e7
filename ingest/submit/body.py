"""Reads a request's body within limits of size and time, and decodes it; an error names the wrong field."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request

from ingest.errors import as_api_error
from streams.request_rules.chat import MAX_JSON_DEPTH
from streams.request_rules.decode_faults import explain
from streams.request_rules.parameter_table import OPENAI_PATHS, Parameter
from streams.serving.errors import ApiError, invalid

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

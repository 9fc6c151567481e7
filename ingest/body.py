"""Reading a request's body: bounded, decoded, and every mistake named with its place."""

import asyncio
import re
from functools import cache
from typing import TypeVar

import msgspec
from starlette.requests import Request

from ingest.errors import ApiError, invalid
from streams.request_rules import MAX_JSON_DEPTH

B = TypeVar("B", bound=msgspec.Struct)

#: The longest body that is allowed takes this long at 70 kB/s.
BODY_TIMEOUT_S = 30.0
#: A content-length of more digits is above every limit.
_LENGTH_DIGITS = 15

_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_CONTENT_PART = re.compile(r"content\[\d+\]\.type$")
_SERVER_OWNED = {
    "tenant": "the tenant comes from the API key",
    "tier": "the tier comes from the API key",
    "accepted_at": "the time of acceptance is taken here",
    "request_id": "send your own id in the header Idempotency-Key",
    "webhook": "it goes with POST /v1/requests, where nobody waits for the answer",
}


async def read_body(request: Request, *, max_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """Return the body of a request.

    Raises:
        ApiError: 413, the body is longer than `max_bytes`, whatever its headers say; 408, it has not come
            within `timeout_s` seconds.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(request, max_bytes)
    except TimeoutError:
        raise _too_slow(timeout_s) from None


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


def decode_body(data: bytes, kind: type[B]) -> B:
    """Return the body as `kind`.

    Raises:
        ApiError: 400, not JSON, or not what is expected; `param` says where.
    """
    try:
        decoder: msgspec.json.Decoder[B] = _decoder(kind)
        return decoder.decode(data)
    except msgspec.ValidationError as fault:
        raise _explain(str(fault)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise invalid(f"the body is not valid JSON: {fault}", code="invalid_json") from None
    except RecursionError:
        raise too_deep() from None


def too_deep(param: str | None = None) -> ApiError:
    """Return the error for JSON that is nested deeper than anyone downstream should have to follow."""
    where = f"{param} is" if param else "the body is"
    return invalid(f"{where} nested deeper than {MAX_JSON_DEPTH} levels", code="invalid_json", param=param)


@cache
def _decoder(kind: type[B]) -> msgspec.json.Decoder[B]:
    return msgspec.json.Decoder(kind)


def _too_large(max_bytes: int) -> ApiError:
    error = invalid(f"the body is longer than {max_bytes} bytes", code="request_too_large", status=413)
    error.headers["Connection"] = "close"  # the rest of the body is not read
    return error


def _too_slow(timeout_s: float) -> ApiError:
    error = invalid(f"the body did not arrive within {timeout_s:g} s", code="request_timeout", status=408)
    error.headers["Connection"] = "close"
    return error


def _explain(fault: str) -> ApiError:
    message, _, path = fault.partition(" - at `")
    path = path.rstrip("`").removeprefix("$").removeprefix(".")
    if found := _UNKNOWN_FIELD.match(message):
        name = found[1][:128]
        hint = _SERVER_OWNED.get(name, "it is not known here")
        return invalid(f"unknown field {name!r}: {hint}", param=_join(path, name), code="unknown_parameter")
    if found := _MISSING_FIELD.match(message):
        param = _join(path, found[1])
        return invalid(f"{param} is required", param=param, code="missing_required_parameter")
    if _CONTENT_PART.search(path):
        return invalid(f"{path}: only text parts are supported ({message.lower()})", param=path)
    where = path or "the body"
    return invalid(f"{where}: {message[:1].lower()}{message[1:]}", param=path or None)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

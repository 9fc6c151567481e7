"""Responses: JSON with exact decimal numbers and times in RFC 3339, error bodies, and the files of a page.

Pages have a strict content security policy, gzip and an ETag.
"""

import gzip
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.errors import HeadraceError, StoreFull, TransientFault
from streams.events import ErrorInfo

_encoder = msgspec.json.Encoder(decimal_format="number")
Sender = Callable[[Request], Coroutine[Any, Any, Response]]
#: For `Cache-Control`: browsers revalidate each time, so that no page is half of one version.
ASK_EACH_TIME: Final = "no-cache"
_KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
#: Only our own files run or load, text never becomes markup, and no other page can frame this one.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Vary": "Accept-Encoding",
}


def to_json(value: object) -> bytes:
    """Return `value` as JSON; a `Decimal` becomes a number with exactly its digits."""
    return _encoder.encode(value)


class JsonResponse(Response):
    """A response whose content msgspec encodes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)


class PageFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a page in both encodings."""

    name: str
    body: bytes
    zipped: bytes
    media_type: str
    etag: str


def page_file(name: str, body: bytes) -> PageFile:
    """Return a file of a page; its name ends in `.html`, `.js`, `.css` or `.svg`."""
    digest = hashlib.sha256(body).hexdigest()[:20]
    return PageFile(
        name=name,
        body=body,
        zipped=gzip.compress(body, mtime=0),
        media_type=_KINDS[_ending(name)],
        etag=f'W/"{digest}"',  # weak: both encodings share it
    )


def page_files(folder: Traversable) -> tuple[PageFile, ...]:
    """Return the files of a folder that belong to a page, by their names."""
    found = {each.name: each for each in folder.iterdir() if _ending(each.name) in _KINDS}
    return tuple(page_file(name, found[name].read_bytes()) for name in sorted(found))


def sender(file: PageFile, cached: Callable[[Request], str] = lambda _: ASK_EACH_TIME) -> Sender:
    """Return the endpoint that sends a file; `cached` returns the `Cache-Control` for a request."""
    always = {**_HEADERS, "ETag": file.etag}

    async def send(request: Request) -> Response:
        headers = always | {"Cache-Control": cached(request)}
        if file.etag in _listed(request, "if-none-match"):
            return Response(status_code=304, headers=headers)
        if "gzip" in _listed(request, "accept-encoding"):
            zipped = headers | {"Content-Encoding": "gzip"}
            return Response(file.zipped, media_type=file.media_type, headers=zipped)
        return Response(file.body, media_type=file.media_type, headers=headers)

    return send


def _ending(name: str) -> str:
    return name.rpartition(".")[2]


def _listed(request: Request, header: str) -> set[str]:
    return {each.strip() for each in request.headers.get(header, "").split(",")}


#: OpenAI's SDKs retry 408, 409, 429 and 5xx without it. Where the request still runs, or can never succeed, a
#: retry would only pay twice.
NO_RETRY = {"x-should-retry": "false"}
#: On every repeated response, as Stripe names it; its body says `repeat`.
REPLAYED = {"Idempotent-Replayed": "true"}


class ApiError(HeadraceError):
    """An error that the client should read; `headers` are extra response headers, e.g. `Retry-After`."""

    def __init__(
        self, status: int, error: ErrorInfo, *, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = dict(headers)


def error_body(error: ErrorInfo, request_id: str | None, *, repeat: bool = False) -> dict[str, object]:
    """Return OpenAI's error object with the request's id; `repeat`: an earlier submission got the same."""
    said = {name: getattr(error, name) for name in ("message", "type", "code", "param")}
    return {"error": {**said, "request_id": request_id, **({"repeat": True} if repeat else {})}}


def invalid(
    message: str,
    *,
    param: str | None = None,
    code: str = "invalid_request",
    status: int = 400,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> ApiError:
    """Return the error for a client's mistake: `message` says what to change, `param` where."""
    error = ErrorInfo(type="invalid_request_error", code=code, message=message, param=param)
    return ApiError(status, error, headers=headers)


def unauthorized(message: str, *, code: str = "invalid_api_key") -> ApiError:
    """Return the 401: no API key or token, or one that does not count."""
    error = ErrorInfo(type="authentication_error", code=code, message=message)
    return ApiError(401, error, headers={"WWW-Authenticate": "Bearer"})


def forbidden(message: str, *, code: str, param: str | None = None) -> ApiError:
    """Return the 403: the API key is known, and does not allow this."""
    error = ErrorInfo(type="permission_error", code=code, message=message, param=param)
    return ApiError(403, error)


def not_found(message: str, *, code: str = "not_found", param: str | None = None) -> ApiError:
    """Return the 404: it does not exist, or not for this caller."""
    return invalid(message, code=code, param=param, status=404)


def unavailable(message: str, *, code: str = "service_unavailable", retry_after_s: float = 1.0) -> ApiError:
    """Something is missing for the moment; nothing was accepted."""
    error = ErrorInfo(type="unavailable_error", code=code, message=message)
    return ApiError(503, error, headers={"Retry-After": str(max(1, round(retry_after_s)))})


def outage(fault: TransientFault, what: str) -> ApiError:
    """Return the 503 for a dependency's outage; the client does not read the fault's own words."""
    state = "has no memory left for anything new" if isinstance(fault, StoreFull) else "does not answer"
    return unavailable(f"{what} {state}; try again", retry_after_s=fault.retry_after_s)

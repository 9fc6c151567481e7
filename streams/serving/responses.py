"""Responses: JSON with money as exact decimal numbers and times in RFC 3339, and the files of a page.

Pages have a strict content security policy, gzip and an ETag.
"""

import gzip
import hashlib
from collections.abc import Callable, Coroutine
from importlib.resources.abc import Traversable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

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

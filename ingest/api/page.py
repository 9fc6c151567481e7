"""`/`: the chat page, from files of this package. It needs no key: it asks its user for one."""

import gzip
import hashlib
from collections.abc import Callable, Coroutine
from importlib.resources import files
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

_KINDS = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
#: Nothing but our own files runs or loads, no text becomes markup, and no other page shows this one.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    # Kept, but asked about each time: after an upgrade nobody has half of the old page.
    "Cache-Control": "no-cache",
}


class PageFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the page, ready to be sent."""

    name: str
    body: bytes
    zipped: bytes
    media_type: str
    etag: str


def page_files() -> tuple[PageFile, ...]:
    """Read the files of the page."""
    return tuple(
        _page_file(each.name, each.read_bytes())
        for each in sorted(files("ingest").joinpath("web").iterdir(), key=lambda entry: entry.name)
        if each.name.rpartition(".")[2] in _KINDS
    )


def _page_file(name: str, body: bytes) -> PageFile:
    digest = hashlib.sha256(body).hexdigest()[:20]
    kind = _KINDS[name.rpartition(".")[2]]
    zipped = gzip.compress(body, mtime=0)
    # Weak, because the zipped and the plain form share it.
    return PageFile(name=name, body=body, zipped=zipped, media_type=kind, etag=f'W/"{digest}"')


def page_router() -> APIRouter:
    """Return the routes of the page: `/` is `index.html`, and its parts are under `/static/`.

    There is one route a file, so no path from outside ever becomes a path on the disk.
    """
    router = APIRouter(include_in_schema=False)
    for file in page_files():
        path = "/" if file.name == "index.html" else f"/static/{file.name}"
        router.add_api_route(path, _sender(file), methods=["GET", "HEAD"])
    return router


def _sender(file: PageFile) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    headers = {**_HEADERS, "ETag": file.etag, "Vary": "Accept-Encoding"}

    async def send(request: Request) -> Response:
        if file.etag in _listed(request, "if-none-match"):
            return Response(status_code=304, headers=headers)
        if "gzip" in _listed(request, "accept-encoding"):
            zipped = headers | {"Content-Encoding": "gzip"}
            return Response(file.zipped, media_type=file.media_type, headers=zipped)
        return Response(file.body, media_type=file.media_type, headers=headers)

    return send


def _listed(request: Request, header: str) -> set[str]:
    return {each.strip() for each in request.headers.get(header, "").split(",")}

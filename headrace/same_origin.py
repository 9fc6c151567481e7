"""Keeps web pages of other origins from a server on this machine.

A page of any site can make a browser send requests to 127.0.0.1 (a form, `fetch` without CORS). With DNS
rebinding the requests have a host name of the page's own, so that it may read the answers. The embedded
ClickHouse and the provider simulator, which trust whoever is on this machine, are wrapped in it.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_FOREIGN_SITES = frozenset({"cross-site", "same-site"})  # `Sec-Fetch-Site`, as all browsers send it


class SameOriginOnly:
    """Refuses requests under a foreign host name (421) and those that pages of other origins send (403).

    `hosts` are names of the server besides `localhost`, loopback addresses and the address that it listens
    on.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts) | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on or refuse one request."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            status, text = refusal
            await PlainTextResponse(text + "\n", status)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0], scope):
            return 421, "This server does not go by that Host: use 127.0.0.1 or localhost"
        origin = headers.get("origin")
        if headers.get("sec-fetch-site") in _FOREIGN_SITES or (origin and not _same(origin, hosts[0])):
            return 403, "Pages of other origins may not use this server"
        return None

    def _is_own(self, host: str, scope: Scope) -> bool:
        name = _name(host)
        if name is None:
            return False
        own_address, _ = scope.get("server") or (None, None)
        return name in self._hosts or name == own_address or _is_loopback(name)


def _same(origin: str, host: str) -> bool:
    scheme, _, authority = origin.lower().partition("://")
    return scheme in ("http", "https") and authority == host.lower()


def _name(host: str) -> str | None:
    """The name or address in a Host header, without port and brackets; None where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

"""HTTP to a provider: one session with its connections, the provider's key, and one POST for each call."""

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from agents.providers.provider import CALL_ID_HEADER, AnyCall

#: More than a worker ever opens: its calls in flight bound it.
_CONNECTIONS = 10_000
#: Seconds after which an idle connection is closed.
_IDLE_S = 5.0
#: Of an error response: the rest is not read.
_MAX_ERROR_BYTES = 256 * 1024
#: What sending a request and reading a response raise. aiohttp's parser has exceptions outside `ClientError`.
HTTP_ERRORS = (aiohttp.ClientError, HttpProcessingError)


class StatusError(Exception):
    """The provider answers with a status that is not from 200 to 299; with the beginning of the body."""

    def __init__(self, status: int, *, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body


class HttpClient:
    """Sends each call once. Redirects are not followed: they would carry the key and the prompt away.

        client = HttpClient("https://api.openai.com/v1", {"Authorization": "Bearer sk-…"})
        response = await client.post("/chat/completions", {"model": "gpt-4o", …}, call)

    Needs a running event loop. `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are read once, when
    the client is made. Certificates are verified against the system's authorities, or `SSL_CERT_FILE`.
    """

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "Content-Type": "application/json",
                "User-Agent": f"headrace/{_version()}",
                **headers,
            },
            proxy=proxy_of(base_url),
            # aiohttp's own way to read the environment costs a thread for each call, and reads ~/.netrc.
            trust_env=False,
        )

    async def post(
        self, path: str, body: Mapping[str, Any], call: AnyCall, headers: Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        """Send a call; return its response, of which the body is not read yet.

        Only connecting has a timeout here: `PhaseTimeouts` bounds the rest.

        Raises:
            StatusError: the status is not from 200 to 299.
            aiohttp.ClientError, HttpProcessingError: no connection, or no HTTP response.
        """
        connect_s = call.timeouts.connect_s
        response = await self._session.post(
            self._base_url + path,
            data=msgspec.json.encode(body),
            headers={CALL_ID_HEADER: call.call_id, **(headers or {})},
            timeout=aiohttp.ClientTimeout(connect=connect_s, sock_connect=connect_s),
            allow_redirects=False,
        )
        if not 200 <= response.status < 300:
            beginning = await _beginning(response)
            raise StatusError(response.status, headers=response.headers, body=beginning)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of a body, or what came of it: the status is known already, and counts."""
    body = bytearray()
    try:
        with suppress(*HTTP_ERRORS):
            async for piece in response.content.iter_any():
                body += piece
                if len(body) >= _MAX_ERROR_BYTES:
                    break
    finally:
        response.close()
    return bytes(body[:_MAX_ERROR_BYTES])


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address; None where it names none."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _version() -> str:
    try:
        return version("headrace")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "dev"

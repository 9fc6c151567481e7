"""What both official clients have in common: their HTTP client, and which fault each exception is."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx2
import msgspec

from agents.providers.faults import ProviderFault
from agents.providers.http_faults import transport_fault
from agents.providers.port import AnyCall
from agents.providers.spoken_faults import error_of_body, spoken_fault

#: Of an error response: the rest is not read.
_MAX_ERROR_BYTES = 256 * 1024

#: What a call may raise, beside a client's own exceptions: HTTP that breaks off or is none, and what reading
#: an answer raises that nests too deeply or is of another shape.
READING_ERRORS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)


class ClientErrors(msgspec.Struct, frozen=True):
    """The exceptions of one official client: all of them, and those that say something."""

    base: type[Exception]
    timeout: type[Exception]
    connection: type[Exception]
    status: type[Exception]

    def fault_of(self, error: Exception, call: AnyCall, chunks: int) -> ProviderFault:
        """Return the fault for what the client, or reading its answer, has raised after so many chunks."""
        if isinstance(error, self.status):
            response: httpx2.Response = error.response  # type: ignore[attr-defined]  # both clients have it
            return spoken_fault(
                error_of_body(response.content), status=response.status_code, headers=response.headers
            )
        if isinstance(error, self.timeout | self.connection) and isinstance(error.__cause__, Exception):
            error = error.__cause__
        return transport_fault(error, call.timeouts, chunks)


def shortened_errors(http: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """Make an HTTP client that follows no redirects and reads no more of an error response than is of use.

    A redirect would send the key and the prompt to wherever it says.
    """
    http.follow_redirects = False
    http.event_hooks = {"response": [_shorten]}
    return http


async def _shorten(response: httpx2.Response) -> None:
    if not response.is_success:
        response.stream = _Beginning(response.stream)


class _Beginning(httpx2.AsyncByteStream):
    """The first `_MAX_ERROR_BYTES` of a body."""

    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = _MAX_ERROR_BYTES
        async for piece in self._body:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._body.aclose()

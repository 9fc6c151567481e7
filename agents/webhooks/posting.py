"""Sends one webhook: an HTTP request, bounded in time, in what it reads, and in its targets."""

from collections.abc import Mapping
from datetime import UTC, datetime

import aiohttp
from yarl import URL

from agents.webhooks.delivery_decision import DeliveryResult, Rejected, TryLater, result_of_response
from agents.webhooks.target_resolver import (
    ForbiddenTarget,
    GuardedResolver,
    LookUp,
    ServiceUnresolved,
    SystemResolver,
    TargetGuard,
)
from streams.errors import InvalidRequest
from streams.webhooks.targets import Targets

#: How much of a response's body is read, so that the connection can be used again; a longer one closes it.
_READ_BYTES = 4096
#: Bounds of a response's headers: the size of each, and their number.
_MAX_HEADER_BYTES, _MAX_HEADERS = 8190, 128
_MAX_REASON_CHARS = 300


class WebhookPoster:
    """Sends webhooks. Redirects are not followed, proxies of the environment not used, cookies not kept.

    At most `in_flight` are sent at once, each within `timeout_s`. The default of `look_up` is the system's
    resolver.
    """

    def __init__(
        self,
        targets: Targets,
        *,
        timeout_s: float,
        in_flight: int,
        look_up: LookUp | None = None,
    ) -> None:
        # A name server may answer after the try that has asked for it.
        self._system = SystemResolver(2 * in_flight)
        look_up = look_up or self._system
        self._guard = TargetGuard(targets, look_up=look_up)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=GuardedResolver(self._guard, look_up=look_up),
                socket_factory=self._guard.open_socket,
                use_dns_cache=False,
                limit=in_flight,
                keepalive_timeout=10.0,
            ),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # the body is not used
            read_bufsize=_READ_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            trust_env=False,
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        """Send one webhook and return the result. Nothing that a receiver does raises an exception."""
        try:
            await self._guard.refresh()
            self._guard.targets.check_url(url)
            return await self._post(url, body, headers)
        except InvalidRequest as fault:
            return Rejected(fault.message)
        except (ForbiddenTarget, aiohttp.InvalidURL) as fault:
            return Rejected(_words(fault))
        except ServiceUnresolved as fault:
            return TryLater(str(fault))
        except TimeoutError:
            return TryLater("it did not answer in time")
        except (aiohttp.ClientError, OSError) as fault:
            return TryLater(_words(fault))

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResult:
        async with self._session.post(
            URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
        ) as response:
            answer = result_of_response(response.status, response.headers, now=datetime.now(UTC))
            await _read(response)
            return answer

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
        self._system.close()


async def _read(response: aiohttp.ClientResponse) -> None:
    """Read a short body to its end, and close the connection of a long or slow one."""
    try:
        left = _READ_BYTES
        while left > 0:
            chunk = await response.content.read(left)
            if not chunk:
                return
            left -= len(chunk)
    except (aiohttp.ClientError, OSError):
        pass  # the status is there, and it counts
    response.close()


def _words(fault: BaseException) -> str:
    return f"{type(fault).__name__}: {fault}"[:_MAX_REASON_CHARS]

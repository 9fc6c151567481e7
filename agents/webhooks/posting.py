"""Sends one webhook, and says what comes of it.

A send is one HTTP request, bounded in time, in what it reads, and in its targets. `decide` says whether the
webhook is sent again.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import aiohttp
import msgspec
from yarl import URL

from agents.providers.error_responses import retry_after_s
from agents.webhooks.target_resolver import (
    ForbiddenTarget,
    GuardedResolver,
    LookUp,
    ServiceUnresolved,
    SystemResolver,
    TargetGuard,
)
from streams.backoff import spread
from streams.errors import InvalidRequest
from streams.webhooks.targets import Targets

#: The waits after each failed try, in seconds; the last one repeats. Nine tries take 10 hours: the outage of
#: a night, as the specification of Standard Webhooks advises.
SCHEDULE_S = (1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 10_800.0, 21_600.0)
#: Statuses after which another try makes sense, besides 5xx: Request Timeout, Too Early, Too Many Requests.
_LATER = frozenset({408, 425, 429})
_GONE = 410


class Done(msgspec.Struct, frozen=True):
    """It has ended: ``delivered`` (any 2xx), or ``gone`` (410: the receiver wants no more webhooks)."""

    outcome: Literal["delivered", "gone"]


class Rejected(msgspec.Struct, frozen=True):
    """It cannot be delivered, now or later: keep it as a dead letter."""

    reason: str


class TryLater(msgspec.Struct, frozen=True):
    """The receiver did not answer, or asks for a pause of so many seconds."""

    reason: str
    after_s: float = 0.0


class RetryDelivery(msgspec.Struct, frozen=True):
    """Try again after so many seconds."""

    delay_s: float
    reason: str


DeliveryResult = Done | Rejected | TryLater


def result_of_response(status: int, headers: Mapping[str, str], *, now: datetime) -> DeliveryResult:
    """Return what a response means. `now` is from when a date in its `Retry-After` counts."""
    if 200 <= status < 300:
        return Done("delivered")
    if status == _GONE:
        return Done("gone")
    if status in _LATER or status >= 500:
        return TryLater(f"it answered {status}", retry_after_s(headers, now) or 0.0)
    if 300 <= status < 400:
        return Rejected(f"it answered {status}: redirects are not followed; name the final URL")
    return Rejected(f"it answered {status}")


def decide(
    result: DeliveryResult, attempt: int, *, attempts: int, jitter: Callable[[], float]
) -> Done | Rejected | RetryDelivery:
    """Return what becomes of a webhook after try number `attempt` (from 1) of `attempts`.

    `jitter` returns random numbers from 0 to 1, so that webhooks do not come back together.
    """
    if not isinstance(result, TryLater):
        return result
    if attempt >= attempts:
        return Rejected(f"{result.reason}; that was try {attempt} of {attempts}")
    wait_s = spread(SCHEDULE_S[min(attempt, len(SCHEDULE_S)) - 1], jitter=0.25, luck=jitter())
    return RetryDelivery(max(wait_s, min(result.after_s, SCHEDULE_S[-1])), result.reason)


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

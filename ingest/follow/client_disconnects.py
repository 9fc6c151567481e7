"""Cancels requests whose client has closed its connection, if the sender or the installation wants that.

With `on_disconnect` = `continue` a request goes on without its client, and its reply can be fetched later.
With `cancel` the stages end it, and stop a provider call that runs.
"""

import asyncio
from contextlib import suppress

import structlog

from ingest.submit.detached_tasks import DetachedTasks
from ingest.submit.submission import PreparedRequest
from streams.errors import StoreUnavailable
from streams.registry.entries import CLIENT_DISCONNECTED
from streams.registry.registry import RequestRegistry

#: How long a client that retries by itself is waited for. SDKs wait half a second before their first retry, a
#: second before the next, and then wait for the same request again.
RETRY_GRACE_S = 3.0

log = structlog.get_logger(__name__)


class ClientDisconnects:
    """Cancels abandoned requests, beside the HTTP requests that end; each within `timeout_s`."""

    def __init__(
        self, registry: RequestRegistry, *, timeout_s: float, retry_grace_s: float = RETRY_GRACE_S
    ) -> None:
        self._registry = registry
        self._retry_grace_s = retry_grace_s
        self._closing = asyncio.Event()
        self._tasks = DetachedTasks(timeout_s=timeout_s)

    def client_left(self, prepared: PreparedRequest, *, may_come_back: bool = False) -> None:
        """Note that a client has left before its answer was there. Returns at once."""
        if prepared.on_disconnect != "cancel":
            log.info("client_disconnect.goes_on", request_id=prepared.request_id)
        elif not self._tasks.start(self._cancel(prepared, self._retry_grace_s if may_come_back else 0.0)):
            log.warning(
                "client_disconnect.not_cancelled", request_id=prepared.request_id, reason="too many at once"
            )

    async def close(self) -> None:
        """Wait for the cancellations under way."""
        self._closing.set()
        await self._tasks.close()

    async def _cancel(self, prepared: PreparedRequest, after_s: float) -> None:
        with suppress(TimeoutError):
            if after_s:
                await asyncio.wait_for(self._closing.wait(), after_s)
        try:
            async with asyncio.timeout(self._tasks.timeout_s):
                answer = await self._registry.cancel(
                    prepared.request_id,
                    tenant=prepared.caller.tenant,
                    reason=CLIENT_DISCONNECTED,
                    only_alone=True,
                )
        except (StoreUnavailable, TimeoutError) as fault:
            # The answer is then produced and booked for nobody; it can still be fetched.
            log.warning("client_disconnect.not_cancelled", request_id=prepared.request_id, reason=str(fault))
        else:
            log.info("client_disconnect.cancel", request_id=prepared.request_id, answer=answer.value)

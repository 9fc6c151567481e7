"""What becomes of a request whose client leaves before its answer is there.

By policy it goes on, and its answer can be fetched later, or it is cancelled: the stages then end it, and
stop a call that runs. The one who decides is the sender, or the installation where the sender does not say.
"""

import asyncio
from contextlib import suppress
from typing import Literal

import structlog

from ingest.ports import Registry
from ingest.submit.submission import Ask
from streams.errors import StoreUnavailable
from streams.registry.cancellation import CLIENT_DISCONNECTED

OnDisconnect = Literal["continue", "cancel"]

#: An SDK that has given up waiting repeats its call after half a second, a second the next time, and waits
#: for the same request then.
RETRY_GRACE_S = 3.0
_MAX_TASKS = 10_000

log = structlog.get_logger(__name__)


class Abandonments:
    """Cancels what nobody waits for any more, beside the HTTP requests that end.

    Args:
        registry: where requests are cancelled.
        timeout_s: how long one cancellation may take, in seconds.
        retry_grace_s: how long a client that may come back by itself is waited for, in seconds.
    """

    def __init__(self, registry: Registry, *, timeout_s: float, retry_grace_s: float = RETRY_GRACE_S) -> None:
        self._registry = registry
        self._timeout_s = timeout_s
        self._retry_grace_s = retry_grace_s
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def client_left(self, ask: Ask, *, may_come_back: bool = False) -> None:
        """Note that the client of a request has left before its answer was there. Returns at once.

        Args:
            ask: the request.
            may_come_back: whether the client may repeat it by itself; then it is cancelled where it does not.
        """
        if ask.on_disconnect != "cancel":
            log.info("abandonment.goes_on", request_id=ask.request_id)
            return
        if len(self._tasks) >= _MAX_TASKS:
            log.warning("abandonment.not_cancelled", request_id=ask.request_id, reason="too many at once")
            return
        task = asyncio.create_task(self._cancel(ask, self._retry_grace_s if may_come_back else 0.0))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for the cancellations under way; each has its time limit."""
        self._closing.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timeout_s)

    async def _cancel(self, ask: Ask, after_s: float) -> None:
        if after_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), after_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._registry.cancel(
                    ask.request_id,
                    tenant=ask.caller.tenant,
                    reason=CLIENT_DISCONNECTED,
                    only_alone=True,
                )
        except (StoreUnavailable, TimeoutError) as fault:
            # The answer is then produced for nobody, and booked; it can be fetched.
            log.warning("abandonment.not_cancelled", request_id=ask.request_id, reason=str(fault))
        else:
            log.info("abandonment.cancel", request_id=ask.request_id, answer=answer.value)

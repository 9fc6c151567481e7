"""Waiting for the end of a request that was submitted before: `GET /v1/requests/{id}?wait_s=30`."""

import asyncio
from typing import Annotated

from fastapi import Query
from starlette.requests import Request

from ingest.follow.replies import Listener
from ingest.follow.waiting import stored_reply, until_disconnect
from ingest.services import Services

#: Proxies cut connections that are silent for a minute.
MAX_WAIT_S = 55.0
#: Replies to requests that came in elsewhere do not pass this replica: the registry is asked.
_POLL_S = 1.0

WaitS = Annotated[
    float,
    Query(
        ge=0,
        le=MAX_WAIT_S,
        allow_inf_nan=False,
        description="how long to wait for the reply where it is not there yet, in seconds",
    ),
]


async def wait_for_end(request: Request, request_id: str, wait_s: float, services: Services) -> None:
    """Wait until a request has its reply, for so long at most; less where the client leaves.

    A replica that is about to end does not wait: the client asks again, and comes to another.

    Raises:
        ApiError: 503, as many requests as are allowed wait already.
    """
    with services.hub.listen(request_id) as listener:
        ended = asyncio.create_task(_ended(listener, request_id, services))
        gone = asyncio.create_task(until_disconnect(request))
        try:
            await asyncio.wait({ended, gone}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            gone.cancel()


async def _ended(listener: Listener, request_id: str, services: Services) -> None:
    """Return once the reply is there: it passes by, or the registry has it."""
    while await stored_reply(services.registry, request_id) is None:
        heard_until = asyncio.get_running_loop().time() + _POLL_S
        while (left_s := heard_until - asyncio.get_running_loop().time()) > 0:
            await listener.news(left_s)  # deltas are news, too
            if listener.reply is not None or listener.dismissed:
                return

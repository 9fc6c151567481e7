"""A streaming response that cuts off a client that does not read."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

STALLED_S = 30.0


class TimedStream(StreamingResponse):
    """Streams pieces as the client takes them, one piece in memory at a time.

    A fault while streaming breaks the connection, so that the client cannot take what it has for the whole.

    The client may leave one write unread for `stalled_s`; the server's write buffer (64 KiB) takes what is
    written meanwhile. The pieces are closed however the response ends.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str] | None = None,
        stalled_s: float = STALLED_S,
    ) -> None:
        super().__init__(pieces, headers=headers)
        self._pieces = pieces
        self._stalled_s = stalled_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""

        async def timed_send(message: Message) -> None:
            try:
                async with asyncio.timeout(self._stalled_s):
                    await send(message)
            except TimeoutError as fault:
                raise _ClientStalled from fault

        try:
            await super().__call__(scope, receive, timed_send)
        except _ClientStalled:
            log.info("stream.client_stalled", stalled_s=self._stalled_s)
        finally:
            await self._pieces.aclose()


class _ClientStalled(Exception):
    """The client does not read."""

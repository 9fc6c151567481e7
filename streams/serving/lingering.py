"""Closes a connection whose client may still be sending (nginx and Apache: lingering close)."""

import asyncio

from streams.serving.http_limits import HttpLimits


class LingeringTransport(asyncio.Transport):
    """A transport that is closed so that the client gets the response.

    Closing a socket with unread bytes resets the connection, and the client may lose the response. So the
    sending side is closed first, and incoming bytes are read and dropped for a bounded time. A client that
    never reads its response cannot hold the connection.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, limits: HttpLimits
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._budget = limits.linger_bytes
        self.lingering = False
        self.unread = False  # whether the client may still be sending

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        if not self.lingering:
            self._transport.write(data)

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more will be sent."""
        return self.lingering or self._transport.is_closing()

    def close(self) -> None:
        """Close once everything is sent; linger where the client may still be sending."""
        if self.is_closing():
            return
        if not self.unread:
            self.finish()
            return
        self.lingering = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = self._loop.call_later(self._limits.linger_s, self.finish)

    def drop(self, count: int) -> None:
        """Count bytes that came while lingering."""
        self._budget -= count
        if self._budget < 0:
            self.finish()

    def finish(self) -> None:
        """Close without lingering; abort where the response is not read in time."""
        self.lost()
        self._timer = self._loop.call_later(self._limits.flush_s, self._transport.abort)
        self._transport.close()

    def lost(self) -> None:
        """Stop the timer: the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

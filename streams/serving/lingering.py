"""The end of a connection whose client may still be sending."""

import asyncio

from streams.serving.limits import HttpLimits


class LingeringTransport(asyncio.Transport):
    """A transport that is closed so that the client gets the response.

    A socket that is closed with bytes unread resets the connection, and the client may lose a response that
    it has not read yet. So the sending side is closed first, and what still comes is read and dropped for a
    bounded time (nginx and Apache call it a lingering close). In any case the connection ends: a client that
    never reads its response cannot hold it.

    Args:
        transport: the real one.
        loop: for the timers.
        limits: the bounds.

    Attributes:
        unread: whether the client may still be sending: closing then lingers.
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
        self.unread = False

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
        """Close, once what was written is sent; what is unread is dropped before."""
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
        """Take note of so many bytes that came while lingering, and were dropped."""
        self._budget -= count
        if self._budget < 0:
            self.finish()

    def finish(self) -> None:
        """Close without waiting for the client to stop; a response that is not read in time is broken off."""
        self.lost()
        self._timer = self._loop.call_later(self._limits.flush_s, self._transport.abort)
        self._transport.close()

    def lost(self) -> None:
        """Forget the timer: the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

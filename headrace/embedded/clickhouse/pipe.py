"""A pipe from the engine's threads to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator

PIECE_BYTES = 256 << 10
"""How much is read, and sent, at once."""

_CAPACITY_BYTES = 1 << 20  # Linux' default limit for users (fs.pipe-max-size)


class PipeReader:
    """The reading end, for one task at a time; it holds nothing, so a full pipe makes its writer wait.

    Not the loop's own pipe transport: uvloop's closes the descriptor twice, and in between the engine's
    threads may have been given the same number for a file of theirs.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    async def read(self) -> bytes:
        """The next bytes, at most `PIECE_BYTES`; nothing at the end."""
        while True:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._fd, PIECE_BYTES)
            await self._readable()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._fd, _resolve, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._fd)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


@contextlib.contextmanager
def open_pipe() -> Iterator[tuple[PipeReader, int]]:
    """The reader, and the descriptor to write to, which the writer closes."""
    read_fd, write_fd = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # fewer, larger pieces; not needed
            fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _CAPACITY_BYTES)
    try:
        yield PipeReader(read_fd), write_fd
    finally:
        os.close(read_fd)

"""The pipe through which the engine's threads hand a result to the event loop."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator

PIECE_BYTES = 256 << 10
"""How much is read, and sent, at once."""

_CAPACITY_BYTES = 1 << 20  # Linux' default limit for users (fs.pipe-max-size)


class PipeReader:
    """The reading end, for one task at a time. It holds nothing, so that a full pipe makes its writer wait.

    It is not the loop's own pipe transport: uvloop's closes the descriptor twice, and in between the engine's
    threads may have been given the same number for a file of theirs.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces of the result until its end, each at most `PIECE_BYTES`."""
        while piece := await self._read():
            yield piece

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._fd, PIECE_BYTES)
            readable = asyncio.Event()
            loop.add_reader(self._fd, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._fd)


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

"""A pipe from the engine's threads to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator

PIECE_BYTES = 256 << 10
"""How much is read, and sent, at once."""

_CAPACITY_BYTES = 1 << 20  # Linux' default limit for users (fs.pipe-max-size)


@contextlib.asynccontextmanager
async def open_pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """The reader, and the descriptor to write to, which the writer closes."""
    read_fd, write_fd = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # fewer, larger pieces; not needed
            fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _CAPACITY_BYTES)
    reader = asyncio.StreamReader(limit=PIECE_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
    )
    try:
        yield reader, write_fd
    finally:
        transport.close()

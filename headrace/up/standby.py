"""A process that has loaded everything and waits for the word to begin.

Starting a worker takes about 3 s of processor time, most of it imports and the embedding model: more than
its consumer groups wait for it on a busy machine, so that its partitions would move away and back again.
One that has done all that takes over in the time that it needs to connect.
"""

import contextlib
import os
from collections.abc import Callable

from headrace.embedded.process import ChildProcess
from streams.errors import HeadraceError

_WORD = b"\n"


class Standby:
    """One such process.

    Args:
        make: makes the process, given the descriptor on which it is to wait. It begins once a byte comes, and
            ends where the other end is closed.
    """

    def __init__(self, make: Callable[[int], ChildProcess]) -> None:
        read_fd, self._write_fd = os.pipe()
        try:
            self._process = make(read_fd)
            self._process.start()
        except BaseException:
            os.close(self._write_fd)
            raise
        finally:
            os.close(read_fd)

    @property
    def pid(self) -> int | None:
        """Its process id while it waits."""
        return self._process.pid

    def call(self) -> ChildProcess | None:
        """Tell it to begin and return it; None where it has ended. It is the caller's from then on."""
        try:
            os.write(self._write_fd, _WORD)
        except BrokenPipeError:
            self._process.stop()
            return None
        finally:
            os.close(self._write_fd)
        return self._process

    def dismiss(self) -> None:
        """End it without use."""
        os.close(self._write_fd)
        self._process.stop()


def prepare(make: Callable[[int], ChildProcess]) -> Standby | None:
    """Return a standby, or None where it cannot be started: then the next start takes longer."""
    with contextlib.suppress(HeadraceError, OSError):
        return Standby(make)
    return None

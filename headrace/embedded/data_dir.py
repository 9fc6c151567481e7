"""Data folders: files that only their owner can read, whatever the umask is, and locks on them."""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.embedded.errors import EmbeddedError

OWNER_ONLY = 0o077
"""The umask of every child: group and others get nothing."""

_PASSWORD_BYTES = 24


def private_folder(path: Path) -> Path:
    """Create the folder if need be, and close it to all but its owner. Raises `EmbeddedError`: another's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise EmbeddedError(
            f"{path} belongs to another user: use another folder (--data-dir, or XDG_CACHE_HOME for the "
            "cache), or give it to this user with chown"
        )
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str, *, encoding: str = "utf-8") -> None:
    """Write a file of mode 0600, whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode(encoding))
    partial.replace(path)


def new_password() -> str:
    """A random password that needs no quoting in an address, a header or a configuration file."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def kept_password(path: Path) -> str:
    """The password in the file; it is made at the first call."""
    with suppress(FileNotFoundError):
        return path.read_text("utf-8").strip()
    password = new_password()
    write_private(path, password + "\n")
    return password


_POLL_S = 0.1


class DataDirLock:
    """An exclusive lock on a data folder, made to be inherited by the child that works in it.

    The kernel drops it when the last process that holds `fd` ends: a child that was given it keeps the folder
    locked for as long as it runs, even when its parent was killed.
    """

    def __init__(self, part: str, data_dir: Path) -> None:
        self._part = part
        self._data_dir = data_dir
        self.fd: int | None = None

    def acquire(self, wait_s: float = 6.0, on_progress: Callable[[str], None] | None = None) -> int:
        """Create the folder if need be, lock it, and return the descriptor to pass on.

        It waits for the holder to leave: a child whose parent was just killed needs a few seconds to end
        (`process.ORPHAN_GRACE_S`). Raises `EmbeddedError`: it does not leave, or as `private_folder`.
        """
        deadline = time.monotonic() + wait_s
        while (fd := try_lock(private_folder(self._data_dir) / ".lock")) is None:
            if time.monotonic() >= deadline:
                raise EmbeddedError(
                    f"another embedded {self._part} runs on {self._data_dir}. Stop it first (headrace down), "
                    "or start this one with another data folder."
                )
            if on_progress is not None:
                on_progress(f"waiting for the {self._part} that still runs on {self._data_dir} to end")
                on_progress = None
            time.sleep(_POLL_S)
        self.fd = fd
        return fd

    def release(self) -> None:
        """Give up this process's hold; a child that inherited the lock keeps its own."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def try_lock(path: Path) -> int | None:
    """Lock a file, made if need be, and return the descriptor that holds the lock; None: it is locked."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file while the block runs; wait for whoever holds it now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

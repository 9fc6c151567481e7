"""Folders and files that nobody but their owner can read, whatever the umask is."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from headrace.embedded.errors import NotPrivate

OWNER_ONLY = 0o077
"""The umask of every child: group and others get nothing."""

_PASSWORD_BYTES = 24


def private_folder(path: Path) -> Path:
    """Create the folder if need be, and close it to everybody but its owner.

    Raises:
        NotPrivate: It belongs to another user, who could look into it or replace what is in it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise NotPrivate(path)
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

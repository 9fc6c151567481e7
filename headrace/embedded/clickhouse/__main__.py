"""Run the server: `python -m headrace.embedded.clickhouse --data-dir data --passwords passwords.json`."""

import argparse
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from headrace.embedded.clickhouse.confinement import confine_process, write_config
from headrace.embedded.clickhouse.http_query import Passwords
from headrace.embedded.clickhouse.part import CANNOT_START
from headrace.embedded.data_dir import OWNER_ONLY, private_folder
from headrace.embedded.errors import EmbeddedError, PortInUse
from headrace.embedded.process import LOOPBACK

_BACKLOG = 1024


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; return 2 if it cannot start, and standard error says why."""
    options = _parser().parse_args(arguments)
    os.umask(OWNER_ONLY)
    try:
        with _listen(options.port) as listener, _temporary_folder() as temporary:
            _serve(options, listener, temporary)
    except EmbeddedError as error:
        sys.stderr.write(f"clickhouse: {error}\n")
        return CANNOT_START
    return 0


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for all temporary files, the library's too.

    It stays, empty: the confined process may not remove it, and then `tempfile.TemporaryDirectory` would
    recurse without an end.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-clickhouse-"))
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(options: argparse.Namespace, listener: socket.socket, temporary: Path) -> None:
    passwords = _read_passwords(options.passwords)
    data_dir = private_folder(options.data_dir.absolute())
    config = write_config(temporary)
    if not confine_process(data_dir, temporary):
        sys.stderr.write(
            "clickhouse: this kernel has no Landlock (Linux 5.13 has). Whoever knows a password can read "
            "this user's files through file() in an expression.\n"
        )
    # Only now: loading the library starts threads, which would not be confined.
    from headrace.embedded.clickhouse.server import serve  # noqa: PLC0415

    serve(listener, data_dir, config, passwords)


def _read_passwords(path: Path) -> Passwords:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Passwords)
    except (OSError, msgspec.MsgspecError) as error:
        raise EmbeddedError(f'{path} is not {{"owner": "…", "reader": "…"}} ({error})') from error


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port), backlog=_BACKLOG)
    except OSError as error:
        raise PortInUse(LOOPBACK, port, "--port") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m headrace.embedded.clickhouse",
        description="The ClickHouse HTTP interface over chDB, the ClickHouse engine as a library.",
    )
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, help="folder of the databases")
    add(
        "--passwords",
        type=Path,
        required=True,
        help='JSON file with the passwords: {"owner": "…", "reader": "…"}. The user default is the owner; '
        "reader may only read tables and may be left out. Keep the file outside of "
        "--data-dir, which statements can read",
    )
    add("--port", type=int, default=8123, help="port on 127.0.0.1 (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

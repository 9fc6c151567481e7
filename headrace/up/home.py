"""The folder `.headrace`: data, logs, keys, and what other commands need to know of a running `up`."""

import base64
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil

from headrace.embedded.data_dir import new_password, private_folder, try_lock, write_private
from streams.errors import HeadraceError

_KEY_BYTES = 24
_WEBHOOK_SECRET_BYTES = 32


class AlreadyRunning(HeadraceError):
    """Another `headrace up` holds this folder."""


class NotRunning(HeadraceError):
    """No `headrace up` runs on this folder."""


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is; written to `endpoints.json` once everything is ready.

    Passwords stand in the addresses. `simulator_control` is for `/behaviour` and `/invoice`.
    """

    kafka: str
    redis: str
    clickhouse: str
    clickhouse_reader: str | None = None
    ingest: str
    analytics: str
    simulator: str | None
    simulator_control: str | None = None
    api_key: str
    admin_key: str
    webhook_secret: str | None = None


ProcessState = Literal["starting", "running", "restarting", "failed", "stopped", "external"]


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process, as `headrace status` shows it, and the one that waits to take over from it."""

    role: str
    state: ProcessState
    pid: int | None = None
    standby_pid: int | None = None
    port: int | None = None
    restarts: int = 0
    log: str | None = None
    error: str | None = None


class UpStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of a running `headrace up`; `supervisor_start_s` is its `start_after_boot_s`."""

    supervisor_pid: int
    supervisor_start_s: float
    ready: bool
    processes: tuple[ProcessStatus, ...]


class InstallationKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys and passwords that `headrace up` makes; they stay the same over restarts."""

    api_key: str
    admin_key: str
    webhook_secret: str
    reader_password: str
    clickhouse_password: str
    redis_password: str
    control_password: str
    record_key: str


class Home:
    """Reads and writes the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "log"
        #: What a detached `headrace up` says.
        self.up_log = self.logs / "up.log"
        #: Where addresses, keys and passwords are while it runs.
        self.endpoints_path = self.path / "endpoints.json"
        self._lock_fd: int | None = None

    def create_up_log(self) -> int:
        """Empty `up_log`, and return a descriptor to write it with."""
        private_folder(self.path)
        private_folder(self.logs)
        return os.open(self.up_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def temporary(self) -> Path:
        """Return an empty folder for the temporary files of this start."""
        folder = self.path / "tmp"
        shutil.rmtree(folder, ignore_errors=True)
        return private_folder(folder)

    def data(self, part: str) -> Path:
        """Return the data folder of a part."""
        return self.path / "data" / part

    def lock(self) -> None:
        """Claim the folder for this process's lifetime. Raises `AlreadyRunning`, or as `private_folder`."""
        self._lock_fd = try_lock(private_folder(self.path) / "up.lock")
        if self._lock_fd is None:
            raise AlreadyRunning(
                f"headrace up already runs on {self.path}: see `headrace status`, stop it with "
                "`headrace down`, or use another --data-dir"
            )

    def keys(self) -> InstallationKeys:
        """Return the keys of this folder; those that are missing are made."""
        path = self.path / "keys.json"
        known = msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else {}
        made = {
            "api_key": "hr-" + secrets.token_urlsafe(_KEY_BYTES),
            "admin_key": "hr-admin-" + secrets.token_urlsafe(_KEY_BYTES),
            "webhook_secret": "whsec_"
            + base64.b64encode(secrets.token_bytes(_WEBHOOK_SECRET_BYTES)).decode(),
            **{name: new_password() for name in InstallationKeys.__struct_fields__[3:]},
        }
        keys = made | known
        if keys != known:
            self.write("keys", keys)
        return msgspec.convert(keys, InstallationKeys)

    def write(self, name: Literal["status", "endpoints", "ports", "keys"], content: Any) -> None:
        """Write an `UpStatus`, the `Endpoints`, the ports of this start, or the keys."""
        text = msgspec.json.format(msgspec.json.encode(content), indent=2)
        write_private(private_folder(self.path) / f"{name}.json", text.decode() + "\n")

    def ports(self) -> dict[str, int]:
        """Return the ports of the last start: the next one takes those that are free."""
        try:
            return msgspec.json.decode((self.path / "ports.json").read_bytes(), type=dict[str, int])
        except (OSError, msgspec.DecodeError):
            return {}

    def endpoints(self) -> Endpoints:
        """Return where everything is. Raises `NotRunning`."""
        status = self.status()
        if not status.ready:
            raise NotRunning("headrace up is still starting; `headrace status` shows how far it is")
        return msgspec.json.decode(self.endpoints_path.read_bytes(), type=Endpoints)

    def status(self) -> UpStatus:
        """Return what runs. Raises `NotRunning`: nothing runs on this folder."""
        path = self.path / "status.json"
        if path.exists():
            status = msgspec.json.decode(path.read_bytes(), type=UpStatus)
            if _is_supervisor(status):
                return status
        raise NotRunning(f"nothing runs on {self.path}; start it with `headrace up`")

    def clear_status(self) -> None:
        """Forget the running processes: they have ended."""
        for name in ("status.json", "endpoints.json"):
            (self.path / name).unlink(missing_ok=True)


#: The time of the boot is known in whole seconds only.
_START_TOLERANCE_S = 2.0


def start_after_boot_s(pid: int) -> float:
    """Return when a process started, in seconds after the machine's boot. Raises `psutil.Error`.

    Not a time of day: a machine that slept, or whose clock was set, finds that every process started at
    another one.
    """
    return psutil.Process(pid).create_time() - psutil.boot_time()


def _is_supervisor(status: UpStatus) -> bool:
    """Whether the supervisor that wrote the status still lives, and its pid was not given to another."""
    try:
        start_s = start_after_boot_s(status.supervisor_pid)
        running = psutil.Process(status.supervisor_pid).is_running()
    except psutil.Error:
        return False
    return running and abs(start_s - status.supervisor_start_s) <= _START_TOLERANCE_S

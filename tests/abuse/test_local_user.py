"""Another user of the same machine: no key, no data, no way to write."""

import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from headrace.up.home import Home, InstallationKeys
from tests import parts
from tests.acceptance.conftest import System, unique

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.skipif(parts.source()[0] != "embedded", reason="it is the embedded parts that are attacked"),
]

NOBODY = 65_534
_TIMEOUT_S = 30


@pytest.fixture(scope="module")
def stack(system: System) -> System:
    """The running system, which has answered a request."""
    assert system.chat(unique("Who else is here?")).status_code == 200
    return system


def as_nobody(deed: Callable[[], Any]) -> Any:
    """Do it in a process of the user `nobody`, and return what it returned."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(write_fd, json.dumps(deed()).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    assert said, "the other user's process failed"
    return json.loads(said)


def opened(paths: list[str], mode: str) -> list[str]:
    """The paths that can be opened."""
    found = []
    for path in paths:
        try:
            with open(path, mode):  # noqa: PTH123  # nothing may be imported any more
                found.append(path)
        except OSError:
            pass
    return found


def is_open_to_others(path: Path) -> bool:
    """Whether group or others have any right to it; a link has none of its own."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:  # the parts go on working
        return False
    return not stat.S_ISLNK(mode) and bool(mode & 0o077)


def processes(system: System) -> list[psutil.Process]:
    """The supervisor and everything below it."""
    supervisor = psutil.Process(Home(system.data_dir).status().supervisor_pid)
    return [supervisor, *supervisor.children(recursive=True)]


def secrets(system: System) -> dict[str, str]:
    """Every key and password, by name."""
    kept = json.loads((system.data_dir / "keys.json").read_text())
    assert kept.keys() == set(InstallationKeys.__struct_fields__)
    return kept


def exchange(address: str, request: bytes) -> str:
    """Send bytes and return the first line of the answer."""
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), _TIMEOUT_S) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            return answer.readline(200).decode().strip()


def http(method: str, target: str, body: str = "") -> bytes:
    """A request as `curl` sends it."""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def test_no_file_can_be_read_or_written(stack: System) -> None:
    """Keys, data and logs, at paths that are known; and no file can be added."""
    known = [*stack.data_dir.rglob("*")]
    paths = [str(path) for path in known]
    assert {"keys.json", "endpoints.json", "up.log", "redis.conf"} <= {path.name for path in known}
    assert not as_nobody(lambda: opened(paths, "rb"))
    assert not as_nobody(lambda: opened([*paths, *(f"{path}.new" for path in paths)], "ab"))
    assert not [path for path in known if is_open_to_others(path)]


def test_no_server_answers_without_a_password(stack: System) -> None:
    """Neither queries nor writes; ClickHouse, Redis, the simulator's controls, the APIs."""
    where = stack.endpoints
    query = "INSERT INTO FUNCTION file('/tmp/x', 'TSV', 'x UInt8') SELECT 1"
    chat = '{"query": "hello", "user_id": "nobody"}'
    tries = [
        (where.clickhouse, http("POST", "/", query), " 401 "),
        (where.clickhouse, http("GET", "/?query=SELECT+1"), " 401 "),
        (where.clickhouse, http("GET", "/?user=default&password=&query=SELECT+1"), " 401 "),
        (where.clickhouse, http("GET", "/?user=reader&password=&query=SELECT+1"), " 401 "),
        (where.redis, b"KEYS *\r\n", "-NOAUTH"),
        (where.redis, b"AUTH default x\r\n", "-WRONGPASS"),
        (where.simulator, http("GET", "/invoice"), " 401 "),
        (where.simulator, http("PUT", "/behaviour", "{}"), " 401 "),
        (where.ingest, http("POST", "/v1/chat", chat), " 401 "),
        (where.ingest, http("GET", "/v1/requests/x"), " 401 "),
        (where.analytics, http("GET", "/v1/analytics/queries"), " 401 "),
    ]
    told = as_nobody(lambda: [exchange(str(address), request) for address, request, _ in tries])
    assert [said for said, (_, _, expected) in zip(told, tries, strict=True) if expected not in said] == []


def test_no_secret_can_be_seen(stack: System) -> None:
    """On no command line and in no log; environments are closed by the kernel."""
    kept, family = secrets(stack), processes(stack)
    lines = [" ".join(process.cmdline()) for process in family]
    logs = {path for path in stack.data_dir.rglob("*.log*") if path.is_file()}
    assert {"up.log", "redis.log", "clickhouse.log", "ingest.log"} <= {path.name for path in logs}
    lines += [path.read_text(errors="replace") for path in logs]
    assert {name for name, secret in kept.items() if any(secret in line for line in lines)} == set()
    environs = [f"/proc/{process.pid}/environ" for process in family]
    assert not as_nobody(lambda: opened(environs, "rb"))


def test_everything_listens_on_loopback_only(stack: System) -> None:
    """Kafka's controller and the workers' own ports too; there is no JMX port."""
    listening = [
        (process.name(), each.laddr.ip)
        for process in processes(stack)
        for each in process.net_connections("inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 8
    assert {ip.removeprefix("::ffff:") for _, ip in listening} == {"127.0.0.1"}


def test_nothing_is_in_the_shared_temporary_folder(stack: System) -> None:
    """A name there that is known beforehand could be taken by somebody else. The checkout may be there."""
    own = str(stack.data_dir), str(Path(__file__).parents[2])
    roles = {row.role: row.pid for row in Home(stack.data_dir).status().processes}
    assert {"ingest", "worker-0", "analytics", "clickhouse", "simulator"} <= roles.keys()
    for role in roles.keys() - {
        "redis",
        "kafka",
    }:  # Redis has no temporary files, Kafka is told in its options
        assert psutil.Process(roles[role]).environ()["TMPDIR"].startswith(own[0]), role
    for process in processes(stack):
        used = [each.path for each in process.open_files() if each.path.startswith(tempfile.gettempdir())]
        assert [path for path in used if not path.startswith(own)] == []

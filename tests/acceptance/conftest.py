"""The whole system, started once for the run as an operator starts it: `headrace up --detach`."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from headrace.up.home import Endpoints, Home, ProcessStatus
from streams.kafka.record_auth import RecordAuth, key_of_redis
from streams.redis.keys import JOURNAL
from tests import parts
from tests.acceptance.commands import server
from tests.analytics.reader_url import reader_url

GLOBEX_KEY = "hr-acceptance-globex"
"""The API key of a second tenant."""

SILENT_KEY = "hr-acceptance-silent"
"""The API key of a tenant whose texts are not stored."""

LOCAL_WEBHOOKS = {
    "HEADRACE_WEBHOOK_ALLOW_HTTP": "true",
    "HEADRACE_WEBHOOK_ALLOW_NETWORKS": '["127.0.0.0/8", "::1/128"]',
}
"""The settings under which webhooks reach a receiver on this machine."""

_START_TIMEOUT_S = 150
_OF_SUPERVISOR = ("up", "down")
"""Commands that start or end processes, and so are processes of their own from the beginning."""
_ROW_TIMEOUT_S = 20.0


def headrace(*arguments: str, data_dir: Path, environ: dict[str, str] | None = None) -> str:
    """Run a headrace command and return what it prints; it must succeed."""
    result = run_headrace(*arguments, data_dir=data_dir, environ=environ)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run_headrace(
    *arguments: str, data_dir: Path, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a headrace command as its operator does: endpoints come from the folder."""
    given = [*arguments, "--data-dir", str(data_dir)]
    env = clean_environ() | (environ or {})
    if arguments[0] not in _OF_SUPERVISOR:
        return server().run(given, env=env, cwd=data_dir.parent, timeout_s=_START_TIMEOUT_S)
    return subprocess.run(
        [sys.executable, "-m", "headrace", *given],
        env=env,
        cwd=data_dir.parent,
        capture_output=True,
        text=True,
        timeout=_START_TIMEOUT_S,
        check=False,
    )


def clean_environ() -> dict[str, str]:
    """The environment without whatever the developer has set for a Headrace of their own."""
    foreign = ("HEADRACE_", "OPENAI_", "ANTHROPIC_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


class System:
    """A running Headrace, and the questions that tests ask of it."""

    def __init__(self, endpoints: Endpoints, data_dir: Path) -> None:
        self.endpoints = endpoints
        self.data_dir = data_dir
        self.http = httpx.Client(
            base_url=endpoints.ingest,
            headers={"Authorization": f"Bearer {endpoints.api_key}"},
            timeout=60,
        )

    @property
    def auth(self) -> RecordAuth:
        """What its processes sign records with: a test that signs stands for one of them."""
        return RecordAuth([key_of_redis(self.endpoints.redis) or b""])

    def chat(self, query: str, **fields: Any) -> httpx.Response:
        """Send a native chat request."""
        body = {"query": query, "user_id": "acceptance", **fields}
        return self.http.post("/v1/chat", json=body)

    def sql(self, query: str, **parameters: str) -> list[dict[str, Any]]:
        """Ask ClickHouse; money comes back as text, exact."""
        response = httpx.post(
            self.endpoints.clickhouse,
            params={
                "database": "headrace",
                "default_format": "JSONEachRow",
                "output_format_json_quote_decimals": "1",
                **{f"param_{name}": value for name, value in parameters.items()},
            },
            content=query,
            timeout=60,
        )
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]

    def row(self, request_id: str) -> dict[str, Any]:
        """Return the request's row, waiting for it."""
        query = "SELECT * FROM requests WHERE request_id = {id:String}"
        rows = wait_for(lambda: self.sql(query, id=request_id), _ROW_TIMEOUT_S)
        assert len(rows) == 1
        return rows[0]

    def behave(self, **behaviour: Any) -> None:
        """Set the providers' behaviour: latency, faults, answers."""
        response = httpx.put(f"{self.simulator_control}/behaviour", json=behaviour, timeout=10)
        assert response.status_code == 200, response.text

    def behave_well(self) -> None:
        """Take every fault back."""
        httpx.delete(f"{self.simulator_control}/behaviour", timeout=10).raise_for_status()

    def invoice(self) -> dict[str, Any]:
        """Return what the providers billed."""
        return dict(httpx.get(f"{self.simulator_control}/invoice", timeout=10).json())

    def received(self, fragment: str) -> list[str]:
        """Return the bodies of the providers' latest calls that contain a text."""
        response = httpx.get(f"{self.simulator_control}/received", params={"contains": fragment}, timeout=10)
        return [call["body"] for call in response.json()["calls"]]

    def process(self, role: str) -> ProcessStatus:
        """Return how the supervisor sees a process."""
        return next(row for row in Home(self.data_dir).status().processes if row.role == role)

    def kill(self, role: str) -> None:
        """Kill -9 a process; the supervisor starts it again."""
        pid = self.process(role).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    @property
    def simulator_control(self) -> str:
        """The simulator's address, with the operator's password."""
        assert self.endpoints.simulator_control is not None
        return self.endpoints.simulator_control


@contextmanager
def started(data_dir: Path, *options: str, environ: dict[str, str] | None = None) -> Iterator[System]:
    """Run a Headrace of its own for as long as the block takes."""
    headrace("up", "--detach", *options, data_dir=data_dir, environ=environ)
    try:
        running = System(Home(data_dir).endpoints(), data_dir)
        with running.http:
            yield running
    finally:
        headrace("down", data_dir=data_dir)


def running(system: System) -> set[str]:
    """The journal keys of requests with a call that has no result: other tests leave some too."""
    with redis.Redis.from_url(system.endpoints.redis, decode_responses=True) as client:
        keys = list(client.scan_iter(f"{JOURNAL.prefix}*", count=500))
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hkeys(key)
        entries = pipe.execute()
    return {
        key
        for key, fields in zip(keys, entries, strict=True)
        if "begun:1" in fields and "result" not in fields
    }


def wait_for(condition: Callable[[], Any], timeout_s: float) -> Any:
    """Return the first truthy value of `condition`, or its last value.

    The pause after each look is as long as the look took (0.05 to 2 s): looking leaves the system its time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        began = time.monotonic()
        value = condition()
        now = time.monotonic()
        if value or now > deadline:
            return value
        time.sleep(min(max(0.05, now - began), 2.0))


def unique(text: str) -> str:
    """Return a question that no cache has seen."""
    return f"{text} ({uuid.uuid4().hex})"


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running Headrace for the whole run."""
    environ = {}
    if parts.source()[0] == "containers":
        environ = {
            "HEADRACE_KAFKA_BOOTSTRAP": request.getfixturevalue("kafka_bootstrap"),
            "HEADRACE_REDIS_URL": request.getfixturevalue("redis_url"),
            "HEADRACE_CLICKHOUSE_URL": request.getfixturevalue("clickhouse_url"),
        }
        environ["HEADRACE_CLICKHOUSE_READER_URL"] = reader_url(environ["HEADRACE_CLICKHOUSE_URL"], "headrace")
    data_dir = tmp_path_factory.mktemp("system") / "home"
    # A breaker that opens for seconds would carry one test's faults into the next.
    environ["HEADRACE_BREAKER_THRESHOLD"] = "1000"
    environ["HEADRACE_API_KEYS"] = json.dumps(
        {GLOBEX_KEY: {"tenant": "globex"}, SILENT_KEY: {"tenant": "silent"}}
    )
    environ["HEADRACE_TENANTS"] = json.dumps({"silent": {"store_text": False}})
    environ |= LOCAL_WEBHOOKS
    with started(data_dir, environ=environ) as running:
        yield running


@pytest.fixture
def healthy(system: System) -> Iterator[System]:
    """The running system, with providers that behave before and after the test."""
    system.behave_well()
    yield system
    system.behave_well()

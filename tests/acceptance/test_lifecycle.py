"""A worker that dies comes back. Starting and stopping: `test_own_system`."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from headrace.up.home import Home
from tests.acceptance.conftest import System, headrace, unique, wait_for

pytestmark = pytest.mark.acceptance


def processes(data_dir: Path) -> dict[str, dict[str, Any]]:
    document = json.loads(headrace("status", "--json", data_dir=data_dir))
    return {row["role"]: row for row in document["processes"]}


def test_a_killed_worker_comes_back_and_nothing_is_lost(healthy: System) -> None:
    """Requests that were in flight when the worker was killed are answered by its successor."""
    healthy.behave(latency={"first_token_ms": 300})
    ids = [
        healthy.http.post("/v1/requests", json={"query": unique(f"Number {n}?"), "user_id": "k"}).json()[
            "request_id"
        ]
        for n in range(20)
    ]
    worker = wait_for(lambda: with_standby(healthy.data_dir), 30)
    os.kill(worker["pid"], signal.SIGKILL)
    for request_id in ids:
        reply = wait_for(lambda request_id=request_id: answered(healthy, request_id), 45)
        assert reply, f"{request_id} was lost"
    after = wait_for(lambda: running_again(healthy.data_dir, worker["pid"]), 30)
    assert after["restarts"] >= 1
    assert after["pid"] == worker["standby_pid"], "the standby should have taken over"
    counts = healthy.sql(
        "SELECT count() AS n, uniqExact(request_id) AS ids FROM requests "
        "WHERE has({ids:Array(String)}, request_id)",
        ids="[" + ",".join(f"'{request_id}'" for request_id in ids) + "]",
    )
    assert int(counts[0]["n"]) == int(counts[0]["ids"])


def answered(system: System, request_id: str) -> dict[str, Any] | None:
    response = system.http.get(f"/v1/requests/{request_id}")
    body: dict[str, Any] = response.json()
    return body if response.status_code == 200 and body.get("status") == "answered" else None


def with_standby(data_dir: Path) -> dict[str, Any] | None:
    worker = processes(data_dir)["worker-0"]
    return worker if worker["standby_pid"] else None


def running_again(data_dir: Path, old_pid: int) -> dict[str, Any] | None:
    worker = {row.role: row for row in Home(data_dir).status().processes}["worker-0"]
    fresh = worker.state == "running" and worker.pid != old_pid
    return {"restarts": worker.restarts, "pid": worker.pid} if fresh else None

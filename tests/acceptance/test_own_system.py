"""What needs a system of its own: alerts with short windows, a restart, a sixth stage, a lasting outage.

The tests share one system, which is started twice: the second time with other settings, and from a copy of
the source with one more stage.
"""

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.conftest import System, headrace, started, unique, wait_for
from tests.acceptance.stage_page import extended_source
from tests.acceptance.test_dead_letters import ask, dlq, eventually, letter_of, replies
from tests.acceptance.watching import HISTORY, TOLD_WITHIN_S, WATCHFUL, WINDOW_S, Traffic, metrics, of_tenant

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]

#: Records are given up after seconds.
IMPATIENT = {
    "HEADRACE_RETRY_IN_PLACE_S": "2",
    "HEADRACE_RETRY_ATTEMPTS": "1",
    "HEADRACE_RETRY_MAX_DELAY_S": "0.5",
    "HEADRACE_REDIS_TIMEOUT_S": "1.5",
    "HEADRACE_EMBEDDINGS": "off",
}


class OwnSystem:
    """One Headrace for the tests of this file, started anew where a test wants other settings."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._stack = ExitStack()
        self._environ: dict[str, str] | None = None
        self._system: System | None = None

    def running(self, environ: dict[str, str]) -> System:
        """Return the system, running with these settings."""
        if self._system is None or self._environ != environ:
            self.stop()
            self._system = self._stack.enter_context(started(self.data_dir, "--no-demo", environ=environ))
            self._environ = environ
        return self._system

    def stop(self) -> None:
        """Take it down; its data stays."""
        self._stack.close()
        self._system = None


def processes(data_dir: Path) -> list[dict[str, Any]]:
    """The processes, as the command shows them."""
    return list(json.loads(headrace("status", "--json", data_dir=data_dir))["processes"])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSystem]:
    """The system of this file."""
    system = OwnSystem(tmp_path_factory.mktemp("own") / "home")
    yield system
    system.stop()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with the stage of docs/adding-a-stage.md."""
    folder = tmp_path_factory.mktemp("tree")
    extended_source(folder)
    return folder


@pytest.fixture
def extended(own: OwnSystem, tree: Path) -> System:
    """The system, running from the copy, and impatient."""
    return own.running(IMPATIENT | {"PYTHONPATH": str(tree)})


def test_a_burst_of_errors_is_one_alert_and_its_end_another(own: OwnSystem) -> None:
    """Every provider fails for a while, and the watcher is killed: one record raises, one resolves."""
    watched = own.running(WATCHFUL)
    watched.sql(HISTORY)
    told = of_tenant(watched)
    watched.behave(faults=[{"kind": "overloaded", "rate": 1.0}])
    with Traffic(watched):
        (raised,) = wait_for(told, TOLD_WITHIN_S) or [None]
        assert raised is not None, metrics(watched)
        watched.kill("analytics")
        time.sleep(WINDOW_S)
        watched.behave_well()
        assert wait_for(lambda: len(told()) > 1, TOLD_WITHIN_S + 60), metrics(watched)
        time.sleep(WINDOW_S)
    assert (raised.state, raised.direction, raised.unit) == ("raised", "above", "ratio")
    assert raised.observed > 0.5 > raised.expected * 10
    assert raised.severity == "critical"
    assert [(event.alert_id, event.state) for event in told()] == [
        (raised.alert_id, "raised"),
        (raised.alert_id, "resolved"),
    ]
    (row,) = wait_for(
        lambda: watched.sql(
            "SELECT alert_id FROM alerts "
            "WHERE rule = 'error_rate' AND tenant = 'default' AND resolved_at IS NOT NULL"
        ),
        TOLD_WITHIN_S,
    )
    assert row["alert_id"] == raised.alert_id
    found = metrics(watched)
    assert found["headrace_watcher_active"] == 1
    assert found["headrace_sink_lag_records"] < 100
    assert found['headrace_freshness_seconds{table="requests"}'] < 60


def test_a_second_start_finds_the_data_of_the_first(own: OwnSystem, tree: Path) -> None:
    """Rows, replies and keys survive `down` and `up`; nothing is left running after `down`."""
    first = own.running(WATCHFUL)
    reply = first.chat(unique("Will you remember this?")).json()
    row = first.row(reply["request_id"])
    before = processes(own.data_dir)
    own.stop()
    pids = [pid for row in before for pid in (row["pid"], row["standby_pid"]) if pid]
    assert not [pid for pid in pids if psutil.pid_exists(pid)]

    second = own.running(IMPATIENT | {"PYTHONPATH": str(tree)})
    assert second.endpoints.api_key == first.endpoints.api_key
    assert second.row(reply["request_id"]) == row
    fetched = second.http.get(f"/v1/requests/{reply['request_id']}").json()
    assert fetched["content"] == reply["response"]
    assert second.chat(unique("And this?")).json()["status"] == "answered"


def test_the_page_is_one_row_one_package_and_one_line_of_wiring(tmp_path: Path) -> None:
    """Beside the topic that the row reads."""
    package = [f"agents/denylist/{name}.py" for name in ("__init__", "stage")]
    files = ["streams/topics.py", "streams/pipeline.py", *package, "agents/bootstrap.py"]
    assert extended_source(tmp_path) == files


def test_a_request_passes_the_new_stage(extended: System) -> None:
    """Its answer comes as ever, and the new stage stands behind the guardrail among those it has met."""
    answer = extended.chat(unique("What is the capital of France?"))
    assert answer.status_code == 200, answer.text
    extended.row(answer.headers["X-Request-ID"])
    stages = extended.sql(
        "SELECT stage FROM stages WHERE request_id = {id:String} ORDER BY started_at",
        id=answer.headers["X-Request-ID"],
    )
    assert [row["stage"] for row in stages] == ["guardrail", "denylist", "cache", "llm", "output", "cost"]


def test_the_new_stage_ends_a_request(extended: System) -> None:
    """As blocked, with its own code."""
    answer = extended.chat("Tell me about Project Osprey.")
    assert "denylist" in answer.text
    row = extended.row(answer.headers["X-Request-ID"])
    assert (row["status"], row["error_code"]) == ("blocked", "denylist")


def test_the_live_page_shows_its_consumer_group(extended: System) -> None:
    """With nobody asked to name it there: the lags are those of every row."""

    def groups() -> dict[str, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {extended.endpoints.admin_key}"}
        page = httpx.get(f"{extended.endpoints.analytics}/v1/analytics/live", headers=headers, timeout=30)
        return {each["stage"]: each for each in page.json().get("topics", ())}

    found = wait_for(lambda: groups().get("denylist"), 30)
    assert (found["topic"], found["members"]) == ("llm.screened.v1", 1)


def test_a_request_that_died_of_an_outage_is_replayed_to_its_answer(extended: System) -> None:
    """Redis hangs, the request is given up, Redis is back, the operator replays: the answer comes."""
    request_id = uuid.uuid4().hex
    redis = extended.process("redis").pid
    assert redis is not None
    os.kill(redis, signal.SIGSTOP)
    try:
        ask(extended, request_id)
        letter = letter_of(extended, request_id)
    finally:
        os.kill(redis, signal.SIGCONT)
    eventually(lambda: [each["status"] for each in replies(extended, request_id)] == ["failed"])
    assert (letter["stage"], letter["exception"]) == ("guardrail", "StoreUnavailable")
    dlq(extended, "replay", letter["id"], "--reason", "redis is back")
    answered = eventually(
        lambda: [each for each in replies(extended, request_id) if each["status"] == "answered"]
    )
    assert [each.get("replay") for each in answered] == [1]
    eventually(lambda: extended.row(request_id)["status"] == "answered")

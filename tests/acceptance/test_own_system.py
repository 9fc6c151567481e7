"""What needs a system of its own: alerts with short windows, a restart, an outage that outlasts all patience.

The tests share one system, which is started twice: the restart changes its settings.
"""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Self

import httpx
import psutil
import pytest
from aiokafka import AIOKafkaConsumer

from streams.codec import decode
from streams.events import AlertRaised
from tests.acceptance.conftest import System, started, unique, wait_for
from tests.acceptance.test_dead_letters import ask, dlq, eventually, letter_of, replies
from tests.acceptance.test_lifecycle import processes

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]

WINDOW_S = 5
#: A window, the time until its rows are certain to be there, and the next look; twice, on a busy machine.
TOLD_WITHIN_S = 90.0
#: So many that a window has enough requests on a busy machine, where each takes seconds.
SENDERS = 8

#: Four weeks of quiet days: in each of the next windows fifteen answered requests, one in a hundred failed.
HISTORY = """
INSERT INTO requests_raw (request_id, tenant, accepted_at, finished_at, status, latency_ms, cost_usd,
    cache_kind, guardrail_input_pass, guardrail_output_pass, ingested_at)
SELECT
    concat('history-', toString(number)) AS request_id,
    'default' AS tenant,
    finished_at - INTERVAL 1 SECOND AS accepted_at,
    now64(6, 'UTC') - toIntervalDay(1 + number % 28) + toIntervalMillisecond(intDiv(number, 28) * 333)
        - toIntervalMinute(1) AS finished_at,
    if(number % 100 = 0, 'failed', 'answered') AS status,
    1000 AS latency_ms,
    0.001 AS cost_usd,
    'bypass' AS cache_kind,
    true, true,
    finished_at AS ingested_at
FROM numbers(28 * 3 * 480)
"""


#: Short windows, and no second chance: a failure counts at once.
WATCHFUL = {
    "HEADRACE_ALERT_WINDOW_S": str(WINDOW_S),
    "HEADRACE_ALERT_MIN_REQUESTS": "5",
    "HEADRACE_BREAKER_THRESHOLD": "1000",
    "HEADRACE_PROVIDER_TRIES": "1",
    "HEADRACE_EMBEDDINGS": "off",
}
#: Records are given up after seconds.
IMPATIENT = {
    "HEADRACE_RETRY_IN_PLACE_S": "2",
    "HEADRACE_RETRY_ATTEMPTS": "1",
    "HEADRACE_RETRY_MAX_DELAY_S": "0.5",
    "HEADRACE_REDIS_TIMEOUT_S": "1.5",
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


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSystem]:
    """The system of this file."""
    system = OwnSystem(tmp_path_factory.mktemp("own") / "home")
    yield system
    system.stop()


class Traffic:
    """A few senders that go on until told to stop."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._over = Event()
        self._pool = ThreadPoolExecutor(SENDERS)

    def __enter__(self) -> Self:
        for _ in range(SENDERS):
            self._pool.submit(self._send)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()

    def _send(self) -> None:
        while not self._over.is_set():
            self._system.chat(unique("Is anybody there?"), max_tokens=16)
            time.sleep(0.3)


def alerts(system: System) -> list[AlertRaised]:
    """Everything on the topic, as a reader of committed records sees it."""

    async def read() -> list[AlertRaised]:
        reader = AIOKafkaConsumer(
            "llm.alerts.v1",
            bootstrap_servers=system.endpoints.kafka,
            group_id=None,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await reader.start()
        found = []
        try:
            ends = await reader.end_offsets(list(reader.assignment()))
            while any([await reader.position(each) < end for each, end in ends.items()]):
                for records in (await reader.getmany(timeout_ms=200)).values():
                    found += [decode(record.value, AlertRaised, record.headers) for record in records]
        finally:
            await reader.stop()
        return found

    return asyncio.run(read())


def of_tenant(system: System) -> Callable[[], list[AlertRaised]]:
    """Return what tells the records about the tenant's error rate."""

    def ask() -> list[AlertRaised]:
        time.sleep(1)  # each asking is a consumer of its own
        return [event for event in alerts(system) if (event.rule, event.tenant) == ("error_rate", "default")]

    return ask


def metrics(system: System) -> dict[str, float]:
    """The analytics process's numbers."""
    text = httpx.get(f"{system.endpoints.analytics}/metrics", timeout=10).raise_for_status().text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


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
        assert wait_for(lambda: len(told()) > 1, TOLD_WITHIN_S + 60)
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


def test_a_second_start_finds_the_data_of_the_first(own: OwnSystem) -> None:
    """Rows, replies and keys survive `down` and `up`; nothing is left running after `down`."""
    first = own.running(WATCHFUL)
    reply = first.chat(unique("Will you remember this?")).json()
    row = first.row(reply["request_id"])
    before = processes(own.data_dir)
    own.stop()
    pids = [pid for row in before.values() for pid in (row["pid"], row["standby_pid"]) if pid]
    assert not [pid for pid in pids if psutil.pid_exists(pid)]

    second = own.running(IMPATIENT)
    assert second.endpoints.api_key == first.endpoints.api_key
    assert second.row(reply["request_id"]) == row
    fetched = second.http.get(f"/v1/requests/{reply['request_id']}").json()
    assert fetched["content"] == reply["response"]
    assert second.chat(unique("And this?")).json()["status"] == "answered"


def test_a_request_that_died_of_an_outage_is_replayed_to_its_answer(own: OwnSystem) -> None:
    """Redis hangs, the request is given up, Redis is back, the operator replays: the answer comes."""
    impatient = own.running(IMPATIENT)
    request_id = uuid.uuid4().hex
    redis = impatient.process("redis").pid
    assert redis is not None
    os.kill(redis, signal.SIGSTOP)
    try:
        ask(impatient, request_id)
        letter = letter_of(impatient, request_id)
    finally:
        os.kill(redis, signal.SIGCONT)
    eventually(lambda: [each["status"] for each in replies(impatient, request_id)] == ["failed"])
    assert (letter["stage"], letter["exception"]) == ("guardrail", "StoreUnavailable")
    dlq(impatient, "replay", letter["id"], "--reason", "redis is back")
    answered = eventually(
        lambda: [each for each in replies(impatient, request_id) if each["status"] == "answered"]
    )
    assert [each.get("replay") for each in answered] == [1]
    eventually(lambda: impatient.row(request_id)["status"] == "answered")

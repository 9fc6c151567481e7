"""Kafka, Redis, ClickHouse or a provider is away for a while: nothing is lost, and nobody has to help.

Each outage is short, so that all of them fit in a minute and a half; `bench/` and `docs/guarantees.md` have
the long ones. Parts that hang are stopped with SIGSTOP, which is worse than being dead: connections stay
open and nothing answers.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest
import redis

from headrace.up.home import ProcessStatus
from tests import parts
from tests.acceptance.conftest import System, unique, wait_for

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        parts.source()[0] != "embedded",
        reason="signals reach only parts that `headrace up` itself has started",
    ),
]

_BACK_S = 45.0
"""Within that a part is started again, and everything that needs it is well again."""


@pytest.fixture
def whole(healthy: System) -> Iterator[System]:
    """The running system, in full health before the test and after it."""
    assert_well(healthy)
    yield healthy
    assert_well(healthy)


def assert_well(system: System) -> None:
    """Both processes with a health report say that everything is well, by themselves and in time."""
    assert wait_for(lambda: health(system)[1].get("status") == "healthy", _BACK_S), health(system)
    assert wait_for(lambda: sink_health(system)["status"] == "ok", _BACK_S), sink_health(system)


def health(system: System) -> tuple[int, dict[str, Any]]:
    """What ingest says, and its HTTP status; it must say so within seconds."""
    response = httpx.get(f"{system.endpoints.ingest}/health", timeout=5)
    return response.status_code, response.json()


def sink_health(system: System) -> dict[str, Any]:
    """What the sink says; it must say so within seconds."""
    response = httpx.get(f"{system.endpoints.analytics}/health", timeout=5)
    assert response.status_code == 200
    return dict(response.json())


@contextmanager
def hanging(system: System, role: str) -> Iterator[None]:
    """Stop a process in its tracks for as long as the block takes."""
    pid = system.process(role).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def submit(system: System, count: int) -> list[str]:
    """Submit requests and return their ids; all must be accepted."""
    ids = []
    for _ in range(count):
        response = system.http.post("/v1/requests", json={"query": unique("What now?"), "user_id": "outage"})
        assert response.status_code == 202, response.text
        ids.append(response.json()["request_id"])
    return ids


def answered(system: System, request_id: str) -> dict[str, Any] | None:
    """Return a reply once it is there."""
    response = system.http.get(f"/v1/requests/{request_id}")
    body: dict[str, Any] = response.json()
    return body if response.status_code == 200 and body.get("status") == "answered" else None


def assert_all_answered(system: System, ids: list[str]) -> None:
    """Every request has its reply and exactly one row."""
    for request_id in ids:
        assert wait_for(partial(answered, system, request_id), _BACK_S), request_id
    for request_id in ids:
        system.row(request_id)


def timed(call: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    """Return what a call brought, and how long it took in seconds."""
    began = time.monotonic()
    return call(), time.monotonic() - began


def assert_refused_for_now(response: httpx.Response) -> None:
    """A 503 in the API's own words, which says when to come again."""
    assert response.status_code == 503, response.text
    assert response.json()["error"]["code"] == "service_unavailable"
    assert int(response.headers["Retry-After"]) >= 1


def test_a_broker_that_is_killed_loses_nothing_that_it_has_acknowledged(whole: System) -> None:
    """Requests in flight, a stream among them, and one sent meanwhile are answered when it is back."""
    whole.behave(latency={"first_token_ms": 300, "tokens_per_second": 40})
    ids = submit(whole, 10)
    stream = _Stream(whole)
    assert wait_for(lambda: stream.text, 20)
    whole.kill("kafka")
    # Accepted at once, or, on a machine where the restart takes longer than a send may, when asked again.
    meanwhile = wait_for(
        partial(accepted, whole, {"query": unique("Is it back?"), "user_id": "o"}, {}), _BACK_S
    )
    assert meanwhile["status"] == "answered"
    assert_all_answered(whole, [*ids, meanwhile["request_id"]])
    stream.join()
    assert stream.ended_well
    assert whole.process("worker-0").state == "running"


def test_a_broker_that_hangs_is_seen_and_told(whole: System) -> None:
    """Health says so within seconds; ingest stays alive; what waited goes on when the broker does."""
    before = {role: whole.process(role).restarts for role in ("ingest", "analytics", "worker-0")}
    with hanging(whole, "kafka"):
        assert wait_for(lambda: health(whole)[0] == 503, 8)
        assert health(whole)[1]["checks"]["kafka"]["status"] == "down"
        assert health(whole)[1]["checks"]["redis"]["status"] == "up"
        assert httpx.get(f"{whole.endpoints.ingest}/ready", timeout=5).json()["missing"] == ["kafka"]
        assert httpx.get(f"{whole.endpoints.ingest}/live", timeout=5).status_code == 200
        waiting = _Stream(whole)
        assert wait_for(lambda: "kafka" in down(sink_health(whole)), 12)
    waiting.join()
    assert waiting.ended_well
    assert {role: whole.process(role).restarts for role in before} == before


def test_a_redis_that_hangs_is_refused_in_time(whole: System) -> None:
    """Ingest says 503 within Redis's own time-out; what is in the pipeline waits and is answered."""
    whole.behave(latency={"first_token_ms": 500})
    ids = submit(whole, 10)
    with hanging(whole, "redis"):
        response, took_s = timed(lambda: whole.chat(unique("Is Redis there?")))
        assert_refused_for_now(response)
        assert took_s < 6
        assert wait_for(lambda: health(whole)[1]["checks"]["redis"]["status"] == "down", 8)
        assert health(whole)[0] == 503
    assert_all_answered(whole, ids)


def test_a_redis_that_is_killed_has_every_write_that_it_has_answered(whole: System) -> None:
    """Replies can be fetched again, and the same request sent again is a repeat."""
    key = {"Idempotency-Key": unique("once")}
    body = {"query": unique("What is kept?"), "user_id": "outage"}
    first = whole.http.post("/v1/chat", json=body, headers=key).json()
    calls = whole.invoice()["calls"]
    restarts = whole.process("redis").restarts
    whole.kill("redis")
    assert wait_for(lambda: runs_again(whole.process("redis"), restarts), _BACK_S)
    again = wait_for(lambda: accepted(whole, body, key), _BACK_S)
    assert again["response"] == first["response"]
    assert again["request_id"] == first["request_id"]
    assert whole.invoice()["calls"] == calls


def test_a_redis_that_has_lost_everything_loses_no_request(whole: System) -> None:
    """Requests are in Kafka: those in flight are answered, each with one row; new ones are served at once."""
    whole.behave(latency={"first_token_ms": 700})
    ids = submit(whole, 10)
    with redis.Redis.from_url(whole.endpoints.redis, socket_timeout=5) as connection:
        connection.flushall()
    whole.kill("redis")
    for request_id in ids:
        assert whole.row(request_id)["status"] == "answered"
    assert wait_for(lambda: accepted(whole, {"query": unique("And now?"), "user_id": "outage"}, {}), _BACK_S)


def test_requests_are_answered_while_clickhouse_hangs(whole: System) -> None:
    """Both health reports say degraded; dashboards get a 503 in time; every row is there afterwards."""
    ids = submit(whole, 3)
    with hanging(whole, "clickhouse"):
        ids += submit(whole, 7)
        reply = whole.chat(unique("Does anybody miss ClickHouse?"))
        assert reply.json()["status"] == "answered"
        ids.append(reply.json()["request_id"])
        assert wait_for(lambda: health(whole)[1]["status"] == "degraded", 8)
        assert health(whole)[0] == 200
        assert wait_for(lambda: "clickhouse" in down(sink_health(whole)), 8)
        response, took_s = timed(lambda: whole.http.get("/v1/costs"))
        assert_refused_for_now(response)
        assert took_s < 12
    assert_all_answered(whole, ids)


def test_a_killed_clickhouse_misses_no_row(whole: System) -> None:
    """The sink catches up by itself, each row once and each amount exact."""
    ids = submit(whole, 5)
    restarts = whole.process("clickhouse").restarts
    whole.kill("clickhouse")
    ids += submit(whole, 5)
    assert wait_for(lambda: runs_again(whole.process("clickhouse"), restarts), _BACK_S)
    assert_all_answered(whole, ids)
    [sums] = whole.sql(
        "SELECT count() AS rows, uniqExact(request_id) AS ids, toString(sum(cost_usd)) AS usd FROM requests "
        "WHERE has({ids:Array(String)}, request_id)",
        ids=json.dumps(ids).replace('"', "'"),
    )
    assert (int(sums["rows"]), int(sums["ids"])) == (10, 10)


def test_a_provider_that_hangs_holds_nobody_beyond_the_deadline(whole: System) -> None:
    """The degraded answer comes in time; and when the provider is back, so are its answers."""
    whole.behave(faults=[{"kind": "hang", "rate": 1.0}])
    response, took_s = timed(lambda: whole.chat(unique("Does it hang?"), deadline_ms=4_000))
    assert (
        took_s < 4 + 2 + 2
    )  # the deadline, what ingest gives the pipeline beyond it, and the machine's time
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "degraded"
    assert health(whole)[1]["status"] == "healthy"  # of ours nothing is away
    whole.behave_well()
    reply = whole.chat(unique("Is it back?")).json()
    assert reply["status"] == "answered"
    assert whole.row(reply["request_id"])["status"] == "answered"


@pytest.mark.parametrize("stream", [False, True])
def test_where_every_provider_hangs_the_degraded_answer_comes_in_time(whole: System, stream: bool) -> None:
    """Every model is asked and given up in turn, within the deadline; nobody's circuit opens for it."""
    whole.behave(faults=[{"kind": "hang", "rate": 1.0}])
    body = {"query": unique("Is anybody there?"), "user_id": "outage", "stream": stream, "deadline_ms": 6_000}
    submitted = whole.http.post("/v1/requests", json=body)
    assert submitted.status_code == 202, submitted.text
    row = whole.row(submitted.json()["request_id"])
    assert row["status"] == "degraded"
    assert row["latency_ms"] < 6_000
    whole.behave_well()
    reply = whole.chat(unique("And now?")).json()
    assert (reply["status"], reply["model"]) == ("answered", "gpt-4o")


def runs_again(found: ProcessStatus, restarts: int) -> bool:
    """Whether a process was started again since it had been started so often."""
    return found.restarts > restarts and found.state == "running"


def down(report: dict[str, Any]) -> set[str]:
    """The dependencies that a report of the sink calls down."""
    return {name for name, state in report["dependencies"].items() if state["status"] == "down"}


def accepted(system: System, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any] | None:
    """Ask until it is not refused; what is refused may be asked again."""
    response = system.http.post("/v1/chat", json=body, headers=headers)
    assert response.status_code in (200, 503), response.text
    return dict(response.json()) if response.status_code == 200 else None


class _Stream:
    """A streamed request that a thread reads from now on."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.text = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @property
    def ended_well(self) -> bool:
        """Whether it ended as streams do, without an error in it."""
        lines = [line for line in self.text.splitlines() if line and not line.startswith(":")]
        return lines[-1:] == ["data: [DONE]"] and not any('"error"' in line for line in lines)

    def join(self) -> None:
        """Wait for its end; it must have one."""
        self._thread.join(timeout=_BACK_S)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        body = {"query": unique("Count to a hundred"), "user_id": "outage", "stream": True}
        url = f"{self._system.endpoints.ingest}/v1/chat"
        headers = {"Authorization": f"Bearer {self._system.endpoints.api_key}"}
        with httpx.stream("POST", url, json=body, headers=headers, timeout=70) as response:
            for piece in response.iter_text():
                self.text += piece

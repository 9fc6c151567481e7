"""What a worker answers over HTTP."""

import httpx
import msgspec
import pytest
import structlog
from prometheus_client import CollectorRegistry

from agents.runner.in_flight import RecordCounts
from agents.runner.probes import StageMetrics, serve_probes
from agents.runner.stage_app import ConsumerView
from agents.runner.stall_rules import Stall
from agents.runner.watchdog import WatchClock, Watchdog
from headrace.embedded.process import free_port
from streams.errors import ConfigurationError
from tests.agents.runner.views import partition, view, work


class Served:
    """A watchdog over one consumer that is what the test says."""

    def __init__(self, seen: ConsumerView) -> None:
        self.seen = seen
        self.port = free_port()

        async def nobody(_: object) -> None:
            return None

        self.dog = Watchdog(WatchClock(), ask_ends=nobody, stall_timeout_s=10)
        self.metrics = CollectorRegistry()
        self.metrics.register(StageMetrics(self.dog))

    async def get(self, path: str) -> tuple[int, str]:
        answer = await self.answer(path)
        return answer.status_code, answer.text

    async def answer(self, path: str, method: str = "GET") -> httpx.Response:
        async with httpx.AsyncClient(timeout=10) as client:
            return await client.request(method, f"http://127.0.0.1:{self.port}{path}")


async def test_a_worker_is_live_until_it_is_stuck() -> None:
    """And then says why."""
    served = Served(view(partition()))
    async with serve_probes(served.dog, served.metrics, host="127.0.0.1", port=served.port):
        assert (await served.get("/live"))[0] == 200
        served.dog.stalled = Stall(stage="llm", what="overdue", for_s=130, detail="t:0:1 is in flight")
        status, text = await served.get("/live")
    assert status == 503
    assert msgspec.json.decode(text)["what"] == "overdue"


async def test_a_worker_is_ready_once_every_consumer_has_joined() -> None:
    """With partitions or as an idle member; not before any is there, and not during a rebalance."""
    served = Served(view())
    async with serve_probes(served.dog, served.metrics, host="127.0.0.1", port=served.port):
        assert (await served.get("/ready"))[0] == 503
        served.dog.watch("guardrail", lambda: served.seen)
        found = []
        for seen in (view(), view(partition()), view(joined=False), view(partition(), rebalancing=True)):
            served.seen = seen
            found.append((await served.get("/ready"))[0])
    assert found == [200, 200, 503, 503]


async def test_metrics_are_served_in_prometheus_own_format() -> None:
    """Under its content type."""
    served = Served(view())
    served.dog.watch("guardrail", lambda: served.seen)
    async with serve_probes(served.dog, served.metrics, host="127.0.0.1", port=served.port):
        answer = await served.answer("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "text/plain; version=0.0.4; charset=utf-8",
    )
    text = answer.text
    assert 'headrace_worker_acked_total{stage="guardrail"} 0.0\n' in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "unknown_route"), ("DELETE", "/live", 405, "method_not_allowed")],
)
async def test_what_is_not_there_is_an_error_object(method: str, path: str, status: int, code: str) -> None:
    """As at the other servers, with an id."""
    served = Served(view())
    async with serve_probes(served.dog, served.metrics, host="127.0.0.1", port=served.port):
        answer = await served.answer(path, method)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["request_id"] == answer.headers["X-Request-ID"]


async def test_a_probe_is_no_news() -> None:
    """It is logged for who looks for it alone: one comes every few seconds."""
    served = Served(view())
    with structlog.testing.capture_logs() as lines:
        async with serve_probes(served.dog, served.metrics, host="127.0.0.1", port=served.port):
            await served.get("/live")
    assert [(line["route"], line["log_level"]) for line in lines] == [("/live", "debug")]


async def test_a_port_that_is_taken_is_a_setting_to_change() -> None:
    """With its name; and without a port nothing is served."""
    served = Served(view())
    async with serve_probes(served.dog, served.metrics, host="127.0.0.1", port=served.port):
        with pytest.raises(ConfigurationError, match="HEADRACE_WORKER_PORT"):
            async with serve_probes(served.dog, served.metrics, host="127.0.0.1", port=served.port):
                pass
    async with serve_probes(served.dog, served.metrics, host="127.0.0.1", port=0):
        pass


def test_every_number_of_every_stage_is_there() -> None:
    """One sample a line; ages only where there was something."""
    clock = WatchClock()

    async def nobody(_: object) -> None:
        return None

    dog = Watchdog(clock, ask_ends=nobody, stall_timeout_s=10)
    seen = view(
        partition(committed=3, position=7, highwater=9),
        name="llm",
        in_flight=(work(0.0),),
        counts=RecordCounts(acked=5, put_aside=4, dead_letters=3, handed_back=2),
        last_ack_at=1.0,
        rebalances=6,
    )
    dog.watch("llm", lambda: seen)
    dog.watch("cost", lambda: view(name="cost"))
    clock.advance(2)
    dog.stalled = Stall(stage="llm", what="overdue", for_s=130, detail="t:0:1 is in flight")
    samples = {
        (sample.name.removeprefix("headrace_worker_"), sample.labels.get("stage")): sample.value
        for family in StageMetrics(dog).collect()
        for sample in family.samples
    }
    llm = {name: value for (name, stage), value in samples.items() if stage == "llm"}
    assert llm == {
        "partitions": 1,
        "in_flight": 1,
        "in_flight_limit": 4,
        "oldest_in_flight_seconds": 2,
        "lag_records": 6,
        "last_ack_age_seconds": 1,
        "acked_total": 5,
        "put_aside_total": 4,
        "dead_letters_total": 3,
        "handed_back_total": 2,
        "rebalances_total": 6,
    }
    assert ("last_ack_age_seconds", "cost") not in samples
    assert samples["stalled", None] == 1

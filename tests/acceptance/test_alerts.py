"""An incident in the running system: told once when it begins, once when it is over, whatever is killed."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Self

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from streams.codec import decode
from streams.events import AlertRaised
from tests.acceptance.conftest import System, started, unique, wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]

WINDOW_S = 5
#: A window, the time until its rows are certain to be there, and the next look; twice, on a busy machine.
TOLD_WITHIN_S = 90.0
SENDERS = 4

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


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A Headrace of its own, with short windows and a history."""
    data_dir = tmp_path_factory.mktemp("alerts") / "home"
    environ = {
        "HEADRACE_ALERT_WINDOW_S": str(WINDOW_S),
        "HEADRACE_ALERT_MIN_REQUESTS": "5",
        "HEADRACE_BREAKER_THRESHOLD": "1000",
        "HEADRACE_PROVIDER_TRIES": "1",
        "HEADRACE_EMBEDDINGS": "off",
    }
    with started(data_dir, "--no-demo", environ=environ) as system:
        system.sql(HISTORY)
        yield system


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


def test_a_burst_of_errors_is_one_alert_and_its_end_another(watched: System) -> None:
    """Every provider fails for a while, and the watcher is killed: one record raises, one resolves."""
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

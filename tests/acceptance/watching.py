"""Alerts with short windows: the settings, the history and the traffic that raise one, and who reads it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Self

import httpx
from aiokafka import AIOKafkaConsumer

from streams.codec import decode
from streams.events import AlertRaised
from tests.acceptance.conftest import System, unique

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

"""What ClickHouse must say of a set of log records, computed in Python, and what it says."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

from analytics.clickhouse import ClickHouse
from streams.events import RequestLog

#: By day and tenant.
Key = tuple[date, str]
Sums = Mapping[Key, tuple[int | Decimal, ...]]

_POLL_S = 1.0
_BY = "GROUP BY day, tenant"

#: The views and the rollups, each with what an analyst would sum up; the first figure counts rows.
QUERIES: Mapping[str, str] = {
    "requests": (
        "SELECT toDate(accepted_at) AS day, tenant, count() AS n, sum(input_tokens), sum(output_tokens), "
        f"toString(sum(cost_usd)), sum(toUInt64(round(latency_ms * 1000))) FROM requests {_BY}"
    ),
    "stages": (
        "SELECT toDate(accepted_at) AS day, tenant, count() AS n, sum(queue_us), sum(duration_us) "
        f"FROM stages {_BY}"
    ),
    "llm_calls": (
        "SELECT toDate(accepted_at) AS day, tenant, count() AS n, sum(input_tokens), sum(output_tokens), "
        f"toString(sum(cost_usd)), sum(duration_us) FROM llm_calls {_BY}"
    ),
    "payloads": (
        "SELECT toDate(accepted_at) AS day, tenant, count() AS n, sum(length(reply_text)) "
        f"FROM payloads {_BY}"
    ),
    **{
        name: (
            "SELECT day, tenant, sum(requests) AS n, sum(input_tokens), sum(output_tokens), "
            f"toString(sum(cost_usd)), sum(latency_us) FROM {name} {_BY}"
        )
        for name in ("requests_1h", "cost_1d", "users_1d")
    },
    "stages_1h": (
        f"SELECT day, tenant, sum(executions) AS n, sum(queue_us), sum(work_us) FROM stages_1h {_BY}"
    ),
    "calls_1h": (
        "SELECT day, tenant, sum(calls) AS n, sum(input_tokens), sum(output_tokens), "
        f"toString(sum(cost_usd)), sum(duration_us) FROM calls_1h {_BY}"
    ),
}
VIEWS = ("requests", "stages", "llm_calls", "payloads")
ROLLUPS = tuple(name for name in QUERIES if name not in VIEWS)

#: Which sums of the books a rollup must show.
_SOURCE = {
    "requests_1h": "requests",
    "cost_1d": "requests",
    "users_1d": "requests",
    "stages_1h": "stages",
    "calls_1h": "llm_calls",
}


class Books:
    """The sums over every request once, however often its record was sent."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[Key, list[int | Decimal]]] = {
            "requests": defaultdict(lambda: [0, 0, 0, Decimal(0), 0]),
            "stages": defaultdict(lambda: [0, 0, 0]),
            "llm_calls": defaultdict(lambda: [0, 0, 0, Decimal(0), 0]),
            "payloads": defaultdict(lambda: [0, 0]),
        }

    def add(self, log: RequestLog) -> None:
        """Enter a request. Once only."""
        key = (log.accepted_at.date(), log.tenant)
        latency_us = round(log.latency_ms * 1000)
        self._enter("requests", key, (1, log.input_tokens, log.output_tokens, log.cost_usd, latency_us))
        queued = sum(timing.queue_us for timing in log.timings)
        worked = sum(timing.work_us for timing in log.timings)
        if log.timings:
            self._enter("stages", key, (len(log.timings), queued, worked))
        for call in log.calls:
            usage = call.usage
            figures = (1, usage.input_tokens, usage.output_tokens, call.cost_usd, call.duration_us)
            self._enter("llm_calls", key, figures)
        if log.payload is not None:
            self._enter("payloads", key, (1, len(log.payload.reply_text.encode())))

    def _enter(self, name: str, key: Key, figures: Sequence[int | Decimal]) -> None:
        sums = self._sums[name][key]
        for place, figure in enumerate(figures):
            sums[place] += figure

    def sums(self, name: str) -> Sums:
        """Return what a view or a rollup must show."""
        return {key: tuple(figures) for key, figures in self._sums[_SOURCE.get(name, name)].items()}

    def count(self, name: str) -> int:
        """Return how many rows a view must have."""
        return sum(int(figures[0]) for figures in self._sums[name].values())


async def stored(clickhouse: ClickHouse, name: str) -> Sums:
    """Return what a view or a rollup shows."""
    found: dict[Key, tuple[int | Decimal, ...]] = {}
    for row in await clickhouse.query(QUERIES[name]):
        day, tenant, *figures = row.values()
        # Sums of decimals come as text: the client library makes them with 28 digits at most.
        found[day, tenant] = tuple(
            Decimal(figure) if isinstance(figure, str) else figure for figure in figures
        )
    return found


def differences(expected: Sums, found: Sums, *, shown: int = 3) -> list[str]:
    """Return what differs, in words; nothing where all is equal to the last digit."""
    wrong = [key for key in sorted({*expected, *found}) if expected.get(key) != found.get(key)]
    lines = [
        f"{day} {tenant}: {_words(found, day, tenant)} and not {_words(expected, day, tenant)}"
        for day, tenant in wrong[:shown]
    ]
    return lines + ([f"and {len(wrong) - shown} more"] if len(wrong) > shown else [])


def _words(sums: Sums, day: date, tenant: str) -> str:
    return ", ".join(map(str, sums.get((day, tenant), ("nothing",))))


async def compare(clickhouse: ClickHouse, books: Books, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the differences of those views and rollups that have any."""
    wrong = {name: differences(books.sums(name), await stored(clickhouse, name)) for name in names}
    return {name: lines for name, lines in wrong.items() if lines}


async def in_time(
    clickhouse: ClickHouse, books: Books, names: Sequence[str], *, limit_s: float
) -> dict[str, list[str]]:
    """Return what `compare` finds, once that is nothing, or so many seconds have passed."""
    deadline = time.monotonic() + limit_s
    wrong = await compare(clickhouse, books, names)
    while wrong and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)
        wrong = await compare(clickhouse, books, names)
    return wrong

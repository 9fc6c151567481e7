"""What is counted of queries, and how Prometheus reads it."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest

from analytics.api.health import StatusCollector, metrics_registry, metrics_router
from analytics.reports.query import JSON
from analytics.reports.query_service import QueryCounts, QueryService, QuerySlots, TenantScope, TooManyQueries
from analytics.reports.reader import QueryFault, Reason
from analytics.status import FeedbackStatus, SinkStatus, WatchStatus
from streams.errors import ClickHouseUnavailable
from tests.analytics.api.analysts import NUMBERS, catalogue_of, client_of
from tests.analytics.reports.test_query_slots import Holder, settle


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def counted(counts: QueryCounts, sample: str) -> dict[tuple[str, ...], float]:
    """The samples of this name, by their labels."""
    found = [each for metric in counts.collect() for each in metric.samples if each.name == sample]
    return {tuple(each.labels.values()): each.value for each in found}


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (None, "answered"),
        (TooManyQueries("full", own=True), "refused"),
        (ClickHouseUnavailable("gone"), "unavailable"),
        (QueryFault(Reason.TOO_SLOW, "20 s"), "too_slow"),
        (QueryFault(Reason.BROKEN, "a typing error"), "broken"),
        (RuntimeError("the client has left"), "left"),
    ],
)
async def test_what_came_of_a_query(fault: Exception | None, outcome: str) -> None:
    """By name and outcome; the fault goes on to who asked."""
    counts = QueryCounts(QuerySlots(running=1))
    with pytest.raises(type(fault)) if fault is not None else nullcontext():
        async with counts.counted("cost_totals"):
            if fault is not None:
                raise fault
    assert counted(counts, "headrace_analyst_queries_total") == {("cost_totals", outcome): 1}


async def test_how_long_it_took() -> None:
    """From the question to the last byte, in buckets."""
    clock = Clock()
    counts = QueryCounts(QuerySlots(running=1), clock)
    for seconds in (0.02, 0.25, 0.3, 99.0):
        async with counts.counted("cost_totals"):
            clock.now += seconds
    found = counted(counts, "headrace_analyst_query_seconds_bucket")
    upto = [found["cost_totals", bound] for bound in ("0.05", "0.2", "0.3", "20.0", "+Inf")]
    assert upto == [1, 1, 3, 3, 4]
    assert counted(counts, "headrace_analyst_query_seconds_sum") == {("cost_totals",): pytest.approx(99.57)}


async def test_who_runs_and_who_waits() -> None:
    """Counted as they come and go."""
    slots = QuerySlots(running=2)
    holders = [Holder(slots, tenant) for tenant in ("acme", "acme", "globex")]
    await settle()
    assert (slots.running, slots.waiting) == (2, 1)
    for holder in holders:
        await holder.end()
    assert (slots.running, slots.waiting) == (0, 0)


async def test_prometheus_reads_it() -> None:
    """A histogram is cumulative and ends with its sum and its count."""
    clock = Clock()
    counts = QueryCounts(QuerySlots(running=1), clock)
    async with counts.counted("cost_totals"):
        clock.now += 0.25
    with pytest.raises(TooManyQueries):
        async with counts.counted("traffic_totals"):
            raise TooManyQueries("full", own=False)
    lines = generate_latest(metrics_registry(counts)).decode().splitlines()
    assert "headrace_analyst_queries_running 0.0" in lines
    assert "headrace_analyst_queries_refused_total 1.0" in lines
    assert 'headrace_analyst_queries_total{outcome="answered",query="cost_totals"} 1.0' in lines
    assert 'headrace_analyst_queries_total{outcome="refused",query="traffic_totals"} 1.0' in lines
    assert "# TYPE headrace_analyst_query_seconds histogram" in lines
    assert 'headrace_analyst_query_seconds_bucket{le="0.2",query="cost_totals"} 0.0' in lines
    assert 'headrace_analyst_query_seconds_bucket{le="0.3",query="cost_totals"} 1.0' in lines
    assert 'headrace_analyst_query_seconds_bucket{le="+Inf",query="cost_totals"} 1.0' in lines
    assert 'headrace_analyst_query_seconds_sum{query="cost_totals"} 0.25' in lines
    assert 'headrace_analyst_query_seconds_count{query="cost_totals"} 1.0' in lines


async def test_the_service_counts_and_the_process_tells(tmp_path: Path) -> None:
    """Without a reader every query is an operator's matter, and is counted as that."""
    service = QueryService(catalogue_of(tmp_path, numbers=NUMBERS), None, QuerySlots(running=1))
    with pytest.raises(QueryFault):
        async with service.ask(service.prepare("numbers", {}, TenantScope("acme"), JSON)):
            pass
    app = FastAPI()
    collector = StatusCollector(SinkStatus(), WatchStatus(), FeedbackStatus())
    app.include_router(metrics_router(metrics_registry(collector, service.counts)))
    async with client_of(app, None) as client:
        text = (await client.get("/metrics")).text
    assert 'headrace_analyst_queries_total{outcome="misconfigured",query="numbers"} 1.0\n' in text
    assert "headrace_sink_records_total 0.0\n" in text

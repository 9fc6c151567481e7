"""The short form of the chaos suite: every role dies once under load, and nothing is lost or paid twice."""

import asyncio
from pathlib import Path

import pytest

from bench.chaos.report import Report
from bench.chaos.run import Options, Run
from bench.chaos.schedule import short_plan
from bench.chaos.system import System

SEED = 7
OPTIONS = Options(
    seed=SEED,
    duration_s=72.0,
    rate=10.0,
    target=200,
    latency_s=(8.0, 16.0),
    settle_s=100.0,
    audit_s=30,
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One run, on a system of its own with fresh consumer groups."""
    folder: Path = tmp_path_factory.mktemp("chaos")
    system = System(folder, workers=OPTIONS.workers)
    try:
        system.start()
        run = Run(system, OPTIONS, short_plan(SEED, workers=OPTIONS.workers))
        report = asyncio.run(run.run("tests/chaos", folder))
    finally:
        system.stop()
    return report


def test_every_fault_was_done(report: Report) -> None:
    """Else the run shows nothing: every role was killed, the first while 200 requests were in flight."""
    assert not report.missed
    roles = {"worker-0", "worker-1", "ingest", "analytics", "kafka", "redis", "clickhouse", "worker (joined)"}
    assert roles <= set(report.kills)
    assert report.in_flight_at_kills[0] >= 200


def test_every_accepted_submission_got_its_one_reply(report: Report) -> None:
    """As the senders themselves see it: none missing, none double, none that says something else."""
    assert report.senders.accepted > OPTIONS.target
    assert not report.gave_up
    assert report.senders.findings == ()


def test_every_provider_call_is_booked_once(report: Report) -> None:
    """Calls whose answer was lost with their worker are booked as orphaned: no bill comes as a surprise."""
    assert report.provider.invoiced > 0
    assert report.provider.unbooked == 0
    assert report.provider.invoiced_twice == 0
    assert report.provider.booked_twice == 0


def test_the_audit_balances(report: Report) -> None:
    """Headrace's own check comes to the same verdict."""
    assert report.audit_code == 0, report.audit


def test_every_partition_came_back_by_itself(report: Report) -> None:
    """After each kill of a worker, the broker or Redis all partitions were served again, without help."""
    watched = {recovery.fault for recovery in report.recoveries}
    assert {"kill -9: worker-0", "kill -9: worker-1", "kill -9: kafka", "kill -9: redis"} <= watched
    assert all(None not in recovery.seconds for recovery in report.recoveries)

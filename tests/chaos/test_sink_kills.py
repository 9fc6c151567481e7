"""The short form of the sink's kills: killed four times under load, and every sum is exact."""

import asyncio
from pathlib import Path

import pytest

from bench.sink_kills import Options, Verdict, run
from bench.sink_stand import stand

OPTIONS = Options(kills=4, rate=500, seed=7, limit_s=60.0)
#: Rollups are computed, and so killed, all the time; one whose process died in a swap is free again soon.
SETTINGS = {"HEADRACE_ROLLUP_SECONDS": "2", "HEADRACE_CLICKHOUSE_TIMEOUT_S": "10"}

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """One run, on a Kafka and a ClickHouse of its own."""
    folder: Path = tmp_path_factory.mktemp("sink-kills")
    with stand(folder, settings=SETTINGS) as parts:
        return asyncio.run(run(parts, OPTIONS))


def test_it_was_killed_under_load(verdict: Verdict) -> None:
    """Else the run shows nothing: all kills were done, records came again, and some were bad."""
    assert verdict.kills == OPTIONS.kills
    assert verdict.records > verdict.requests > OPTIONS.rate
    assert verdict.bad > 0


def test_everything_is_exact(verdict: Verdict) -> None:
    """Views, rollups, dead letters and the history of commits: nothing is missing, twice, or cut."""
    assert dict(verdict.wrong) == {}

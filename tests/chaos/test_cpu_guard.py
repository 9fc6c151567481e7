"""A change that makes requests more expensive fails here. By CPU time: a busy machine passes."""

import asyncio
import statistics
from pathlib import Path

import pytest

from bench.chaos.system import System
from bench.cpu_guard import rounds

#: The worker's CPU time a request in units of the reference work (`bench/cpu_guard.py`), which was 3.7 in the
#: middle of eight rounds, quiet and beside six busy loops: 45 % more than the dearest of them.
LIMIT = 1.45 * 4.6

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def test_a_request_costs_the_worker_no_more_cpu_than_before(tmp_path: Path) -> None:
    """Where more is worth it, `python -m bench.cpu_guard` says what to write above."""
    system = System(tmp_path, workers=1)
    try:
        system.start()
        found = asyncio.run(rounds(system, count=5, requests=200))
    finally:
        system.stop()
    assert statistics.median(found) < LIMIT, found

"""The checks of what ingest depends on."""

import asyncio

from ingest.services import HealthMonitor
from streams.errors import StoreDenied, StoreUnavailable


async def _up() -> None:
    return


async def _down() -> None:
    raise StoreUnavailable("Redis at 10.0.0.1 refused")


async def _hangs() -> None:
    await asyncio.Event().wait()


async def test_each_dependency_is_told_apart() -> None:
    """Up, down, and one that never answers: health does not wait for it."""
    monitor = HealthMonitor({"a": _up, "b": _down, "c": _hangs}, timeout_s=0.01)
    results = await monitor.results()
    assert [results[name].status for name in "abc"] == ["up", "down", "down"]
    assert results["a"].error is None
    assert "no answer within" in (results["c"].error or "")


async def test_a_wrong_password_is_no_silence() -> None:
    """The operator reads what it is; the address stays in the log."""

    async def denied() -> None:
        raise StoreDenied("Redis at 10.0.0.1 refuses")

    result = (await HealthMonitor({"redis": denied}).results())["redis"]
    assert (result.status, result.error) == ("down", "refuses our user or password")


async def test_results_are_kept_for_a_moment() -> None:
    """Many probes at once ask once; later ones ask again."""
    asked, now = [], [0.0]

    async def count() -> None:
        asked.append(1)

    monitor = HealthMonitor({"a": count}, fresh_for_s=2.0, clock=lambda: now[0])
    await asyncio.gather(*(monitor.results() for _ in range(10)))
    assert len(asked) == 1
    now[0] = 2.0
    await monitor.results()
    assert len(asked) == 2

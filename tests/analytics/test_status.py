"""Outages are waited out, and the status says what is away."""

import asyncio

import pytest

from analytics.status import OUTAGE_BACKOFF, SinkStatus
from streams.errors import ClickHouseUnavailable, ConfigurationError


def test_waits_double_up_to_five_seconds() -> None:
    """Spread over the upper half, so that replicas do not knock in step."""
    waits = [
        (OUTAGE_BACKOFF.wait_s(n, lambda: 0.0), OUTAGE_BACKOFF.wait_s(n, lambda: 1.0)) for n in (1, 2, 9)
    ]
    assert waits == [pytest.approx(pair) for pair in ((0.1, 0.2), (0.2, 0.4), (2.5, 5.0))]


async def test_it_tries_until_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says what is away meanwhile, and forgets it afterwards."""
    status, seen = SinkStatus(), []

    async def no_wait(_seconds: float) -> None:
        seen.append(dict(status.outages))

    monkeypatch.setattr(asyncio, "sleep", no_wait)
    faults = [ClickHouseUnavailable("one"), ClickHouseUnavailable("two")]

    async def call() -> str:
        if faults:
            raise faults.pop(0)
        return "answer"

    assert await status.retry("clickhouse", call) == "answer"
    assert [outages["clickhouse"].error for outages in seen] == ["one", "two"]
    assert seen[0]["clickhouse"].since == seen[1]["clickhouse"].since
    assert status.outages == {}
    assert status.last_error == "two"


async def test_what_does_not_pass_is_raised_at_once() -> None:
    """A wrong setting will not become right by waiting."""

    async def call() -> None:
        raise ConfigurationError("wrong")

    with pytest.raises(ConfigurationError):
        await SinkStatus().retry("clickhouse", call)

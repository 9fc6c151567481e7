"""`GET /v1/analytics/budgets`: the day's spend against the budgets, on the real engine."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from analytics.api.budgets import budgets_router
from analytics.reports.catalogue import Catalogue
from analytics.reports.reader import AnalystReader, ReaderLimits
from analytics.status import Clock
from tests.analytics.api.analysts import ACME, ADMIN, GLOBEX, app_of, client_of
from tests.analytics.logs import NOON, make_log
from tests.analytics.reader_url import reader_url
from tests.analytics.stored_logs import database_of

pytestmark = pytest.mark.integration

URL = "/v1/analytics/budgets"
LIMITS = ReaderLimits(timeout_s=30, result_rows=100_000, result_bytes=1 << 26, memory_bytes=1 << 30)
DAY = NOON.date().isoformat()


@pytest.fixture(scope="module")
def stored(clickhouse_url: str) -> Iterator[str]:
    """The name of a database with requests of two tenants, and of the day before."""
    logs = [
        make_log("acme-1", tenant="acme", cost_usd=Decimal("1.100000001")),
        make_log("acme-2", tenant="acme", cost_usd=Decimal("0.9")),
        make_log("acme-0", tenant="acme", cost_usd=Decimal(90), accepted_at=NOON - timedelta(days=1)),
        make_log("globex-1", tenant="globex", cost_usd=Decimal(6)),
    ]
    with database_of(clickhouse_url, "budgets", logs, logs[:2]) as name:
        yield name


@pytest.fixture
async def reader(clickhouse_url: str, stored: str) -> AsyncIterator[AnalystReader]:
    """A reader of that database."""
    connected = AnalystReader(reader_url(clickhouse_url, stored), database=stored, limits=LIMITS)
    yield connected
    await connected.close()


async def asked(
    reader: AnalystReader | None, key: str | None, clock: Clock = lambda: NOON, /, **budgets: int
) -> httpx.Response:
    """The answer to a key where tenants have these budgets; `everybody` is all of them together."""
    daily = {name.replace("everybody", "*"): Decimal(usd) for name, usd in budgets.items()}
    app = app_of(Catalogue.load(), reader)
    app.include_router(budgets_router(daily, clock=clock))
    async with client_of(app, key) as client:
        return await client.get(URL)


def described(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode(
        response.content
    )["budgets"]
    return found


async def test_the_admin_sees_every_budget(reader: AnalystReader) -> None:
    """All tenants together, those that spent nothing, and those over theirs; exact, and of this day alone."""
    found = described(await asked(reader, ADMIN, everybody=16, acme=4, globex=5, idle=1))
    assert found == [
        {
            "tenant": "*",
            "daily_usd": 16,
            "spent_usd": Decimal("8.000000001"),
            "share": Decimal("0.5"),
            "day": DAY,
        },
        {
            "tenant": "acme",
            "daily_usd": 4,
            "spent_usd": Decimal("2.000000001"),
            "share": Decimal("0.5"),
            "day": DAY,
        },
        {"tenant": "globex", "daily_usd": 5, "spent_usd": 6, "share": Decimal("1.2"), "day": DAY},
        {"tenant": "idle", "daily_usd": 1, "spent_usd": 0, "share": 0, "day": DAY},
    ]


async def test_a_tenant_sees_its_own(reader: AnalystReader) -> None:
    """Neither another's nor that of all together; none where it has none."""
    budgets = {"everybody": 16, "acme": 4}
    [own] = described(await asked(reader, ACME, **budgets))
    assert (own["tenant"], own["spent_usd"]) == ("acme", Decimal("2.000000001"))
    assert described(await asked(reader, GLOBEX, **budgets)) == []


async def test_midnight_does_not_make_one_day_of_two(reader: AnalystReader) -> None:
    """Asked in the last moment of a day, the figures are that day's, though it ends before they are there."""
    midnight = NOON.replace(hour=0)
    ticks = iter([midnight - timedelta(microseconds=1)])
    [own] = described(await asked(reader, ACME, lambda: next(ticks, midnight), acme=100))
    assert (own["spent_usd"], own["day"]) == (90, (midnight - timedelta(days=1)).date().isoformat())


async def test_without_a_key_it_says_nothing(reader: AnalystReader) -> None:
    """As every analysts' route."""
    assert (await asked(reader, None, acme=4)).status_code == 401


async def test_without_budgets_nothing_is_asked() -> None:
    """An empty list, although there is no ClickHouse; with one, 503 and not a spend of nothing."""
    assert described(await asked(None, ADMIN)) == []
    response = await asked(None, ADMIN, acme=4)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "reader_not_available")


def test_noon_is_in_the_day_that_is_asked_about() -> None:
    """The tests' clock and the tests' rows go together."""
    assert datetime.fromisoformat(DAY).replace(tzinfo=UTC) <= NOON

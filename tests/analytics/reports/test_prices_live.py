"""ClickHouse gets the prices of records exactly, however many decimals they have."""

from decimal import Decimal

import pytest

from analytics.clickhouse import ClickHouse
from analytics.reports.catalogue import Catalogue
from analytics.reports.query import PRICES
from streams.control.booked_prices import BookedPrices
from tests.fakes.model_records import model

pytestmark = pytest.mark.integration


async def test_the_smallest_and_the_largest_price(clickhouse_url: str) -> None:
    """A tenth of a micro-dollar for a million tokens, and ten times ten thousand dollars."""
    prices = BookedPrices()
    said = {
        "input_usd_per_million": 0.000001,
        "output_usd_per_million": "1e4",
        "long_context": {"above_tokens": 1, "input_times": "0.001", "output_times": 10},
    }
    prices.learn(model("it's \\ odd", price=said, version=3))
    table = Catalogue.load().get("cost_split").bind({}, prices=prices).parameters["prices"]
    clickhouse = ClickHouse(clickhouse_url, database=None, timeout_s=30)
    found = await clickhouse.query(
        f"SELECT p.1 AS version, p.2 AS model, p.4 AS long, p.5 AS sent, p.9 AS said "
        f"FROM (SELECT arrayJoin({{prices:{PRICES}}}) AS p) WHERE p.2 LIKE '%odd' ORDER BY long",
        {"prices": table},
    )
    await clickhouse.close()
    assert [(*row.values(),) for row in found] == [
        ("model:it's \\ odd@3", "it's \\ odd", 0, Decimal("0.000001"), Decimal(10_000)),
        ("model:it's \\ odd@3", "it's \\ odd", 1, Decimal("0.000000001"), Decimal(100_000)),
    ]

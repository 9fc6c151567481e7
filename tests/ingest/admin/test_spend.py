"""Cost summaries from the rows of ClickHouse."""

from decimal import Decimal

import msgspec
import pytest

from analytics.reports.catalogue import Catalogue
from ingest.admin.spend import ClickHouseSpend, cache_summary, cost_summary, percentage
from streams.errors import ClickHouseUnavailable
from streams.registry.entries import plain
from streams.serving.responses import to_json


def test_a_summary_has_the_lessons_fields() -> None:
    """With amounts to the last digit, as number and as text; a request without a model has none."""
    summary = cost_summary(
        {
            "requests": 4,
            "input_tokens": 100,
            "output_tokens": 50,
            "cost_usd": Decimal("0.010000001"),
            "cache_hits": 1,
        },
        [
            {"model": "gpt-4o", "cost_usd": Decimal("0.010000001")},
            {"model": "gpt-4o-mini", "cost_usd": Decimal("0E-9")},
            {"model": "", "cost_usd": Decimal(0)},
        ],
        [{"user_id": "ada", "cost_usd": Decimal("0.010000001")}],
    )
    assert summary == {
        "total_requests": 4,
        "total_input_tokens": 100,
        "total_output_tokens": 50,
        "total_cost_usd": Decimal("0.010000001"),
        "total_cost_usd_exact": "0.010000001",
        "avg_cost_per_request": Decimal("0.0025"),
        "cache_hit_rate_pct": 25.0,
        "cost_by_model": {"gpt-4o": Decimal("0.010000001"), "gpt-4o-mini": Decimal(0)},
        "top_users_by_cost": {"ada": Decimal("0.010000001")},
    }
    assert b'"total_cost_usd":0.010000001,' in to_json(summary)


def test_a_tenant_without_requests() -> None:
    """Zeros, no division by zero."""
    nothing = dict.fromkeys(("requests", "input_tokens", "output_tokens", "cost_usd", "cache_hits"), 0)
    summary = cost_summary(nothing, [], [])
    assert (summary["avg_cost_per_request"], summary["cache_hit_rate_pct"]) == (0, 0)
    assert percentage(0, 0) == 0.0


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0E-9", "0"), ("1.50", "1.5"), ("100", "100"), ("0.000000001", "1E-9"), ("-1.0", "-1")],
)
def test_plain_amounts_keep_their_value(amount: str, text: str) -> None:
    """Without trailing zeros."""
    assert plain(Decimal(amount)) == Decimal(amount)
    assert str(plain(Decimal(amount))) == text
    assert Decimal(str(msgspec.json.decode(to_json(plain(Decimal(amount)))))) == Decimal(amount)


def test_what_was_not_looked_up_is_no_miss() -> None:
    """Requests with tools pass the cache by."""
    rows = [
        {"cache_kind": "semantic", "requests": 2, "hits": 2},
        {"cache_kind": "miss", "requests": 1, "hits": 0},
        {"cache_kind": "bypass", "requests": 9, "hits": 0},
    ]
    assert cache_summary(rows) == {"hits": 2, "misses": 1, "hit_rate_pct": 66.67}
    assert cache_summary([]) == {"hits": 0, "misses": 0, "hit_rate_pct": 0.0}


async def test_nobody_asks_about_everybody() -> None:
    """To the catalogue the empty tenant means all of them: it is refused before anything is asked."""
    spend = ClickHouseSpend("http://127.0.0.1:9", Catalogue.load().bind, database="headrace", timeout_s=2.0)
    for ask in (spend.costs, spend.cache_stats):
        with pytest.raises(ValueError, match="not empty"):
            await ask("")


async def test_clickhouse_away() -> None:
    """A clear exception, and the next question tries again."""
    spend = ClickHouseSpend("http://127.0.0.1:9", Catalogue.load().bind, database="headrace", timeout_s=2.0)
    for _ in range(2):
        with pytest.raises(ClickHouseUnavailable):
            await spend.costs("acme")
    await spend.close()

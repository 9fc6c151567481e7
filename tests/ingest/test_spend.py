"""Cost summaries from the rows of ClickHouse."""

import re
from decimal import Decimal
from importlib.resources import files

import msgspec
import pytest

from ingest.json_response import to_json
from ingest.spend import ClickHouseSpend, cost_summary, percentage
from streams.errors import ClickHouseUnavailable
from streams.events import RequestLog
from streams.reply_view import plain


def test_a_summary_has_the_lessons_fields() -> None:
    """With amounts to the last digit, as number and as text."""
    summary = cost_summary(
        (4, 100, 50, Decimal("0.010000001"), 1),
        [("gpt-4o", Decimal("0.010000001")), ("gpt-4o-mini", Decimal("0E-9"))],
        [("ada", Decimal("0.010000001"))],
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
    summary = cost_summary((0, 0, 0, Decimal(0), 0), [], [])
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


@pytest.mark.parametrize("name", ["cost_totals", "cost_by_model", "cost_by_user", "cache_stats"])
def test_queries_are_the_tenants_own(name: str) -> None:
    """Every one is bound to the tenant, and names only columns of the request log."""
    sql = (files("ingest") / "queries" / f"{name}.sql").read_text("utf-8")
    assert "tenant = {tenant:String}" in sql
    columns = set(re.findall(r"(?:sum|countIf)\((\w+)", sql))
    assert columns <= set(RequestLog.__struct_fields__)


async def test_clickhouse_away() -> None:
    """A clear exception, and the next question tries again."""
    spend = ClickHouseSpend("http://127.0.0.1:9", database="headrace", timeout_s=2.0)
    for _ in range(2):
        with pytest.raises(ClickHouseUnavailable):
            await spend.costs("acme")
    await spend.close()

"""Prices of calls."""

from decimal import Decimal

import pytest

from agents.paid_calls.call_booking import price
from streams.events import Usage

USAGE = Usage(input_tokens=1_000, output_tokens=100, cached_tokens=400)


@pytest.mark.parametrize(
    ("request_model", "response_model", "usd"),
    [
        ("gpt-4o", "gpt-4o", "0.003"),
        ("gpt-4o", "gpt-4o-2024-08-06", "0.003"),
        ("gpt-4o", None, "0.003"),
        ("gpt-4o", "gpt-4o-mini", "0.00018"),
        ("claude-3-5-sonnet", "claude-3-5-sonnet-20241022", "0.00342"),
        ("no-such-model", None, "0"),
    ],
)
def test_the_model_that_answered_sets_the_price_where_the_table_knows_it(
    request_model: str, response_model: str | None, usd: str
) -> None:
    """A snapshot's name is priced as the model asked for; cached input has its own price."""
    assert price(USAGE, request_model=request_model, response_model=response_model) == Decimal(usd)

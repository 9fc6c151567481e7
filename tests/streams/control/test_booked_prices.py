"""Every price that a call may have been booked at can be told."""

from decimal import Decimal

from streams.control.booked_prices import BookedPrices
from streams.model_catalogue import PRICE_VERSION, PRICED_MODELS
from tests.fakes.model_records import model, provider, record


def test_no_version_of_a_price_is_forgotten() -> None:
    """Calls stay as they were booked, also after a record was changed or taken away."""
    prices = BookedPrices()
    for number in (1, 2):
        usd = {"input_usd_per_million": number, "output_usd_per_million": 0}
        prices.learn(model("gpt-4o", version=number, price=usd))
    prices.learn(provider())
    prices.learn(record("model", "odd", {"of": "a later Headrace"}))
    known = {(each.price_version, each.name): each.price.input_usd for each in prices}
    shipped = {(PRICE_VERSION, name): shipped.price.input_usd for name, shipped in PRICED_MODELS.items()}
    assert known == shipped | {
        ("model:gpt-4o@1", "gpt-4o"): Decimal(1),
        ("model:gpt-4o@2", "gpt-4o"): Decimal(2),
    }

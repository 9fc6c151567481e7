"""Prices of calls."""

from decimal import Decimal

import msgspec
import pytest

from agents.paid_calls.call_booking import charge, orphaned_call
from agents.stores.journal_entries import BegunCall, Charge, LostCall
from streams.control.catalogue import SHIPPED
from streams.events import Usage
from streams.model_catalogue import MODELS, PRICE_VERSION
from tests.agents.llm.fakes import NOW

USAGE = Usage(input_tokens=1_000, output_tokens=100, cached_tokens=400)


@pytest.mark.parametrize(
    ("request_model", "response_model", "usd"),
    [
        ("gpt-4o", "gpt-4o", "0.003"),
        ("gpt-4o", "gpt-4o-2024-08-06", "0.003"),
        ("gpt-4o", None, "0.003"),
        ("gpt-4o", "gpt-4o-mini", "0.00018"),
        ("gpt-4o", "claude-3-opus", "0.003"),
        ("claude-3-5-sonnet", "claude-3-5-sonnet-20241022", "0.00342"),
    ],
)
def test_the_model_that_answered_sets_the_price_where_its_provider_has_it(
    request_model: str, response_model: str | None, usd: str
) -> None:
    """A snapshot's name is priced as the model asked for; cached input has its own price."""
    priced = SHIPPED.priced_as(MODELS[request_model], response_model)
    assert charge(priced, USAGE).cost_usd == Decimal(usd)


def test_a_charge_names_its_prices() -> None:
    """Those of long prompts are told apart."""
    long = Usage(input_tokens=200_001)
    assert charge(MODELS["gpt-4o"], USAGE).price_version == PRICE_VERSION
    assert charge(MODELS["claude-sonnet-4-20250514"], long).long_context
    dearer = msgspec.structs.replace(MODELS["gpt-4o"], price_version="model:gpt-4o@2")
    assert charge(dearer, USAGE).price_version == "model:gpt-4o@2"


def test_a_lost_call_is_booked_at_the_prices_of_its_beginning() -> None:
    """Another worker books it, when the model may cost something else, or be gone."""
    begun = BegunCall(
        call_id="c",
        provider="ollama",
        model="no-such-model",
        started_at=NOW,
        input_tokens=1_000,
        input_charge=Charge(cost_usd=Decimal("0.0025"), price_version="model:m@7", long_context=True),
    )
    booked = orphaned_call(LostCall(number=3, call=begun))
    assert (booked.cost_usd, booked.price_version, booked.long_context) == (
        Decimal("0.0025"),
        "model:m@7",
        True,
    )
    assert (booked.attempt, booked.orphaned, booked.usage.estimated) == (3, True, True)


def test_a_lost_call_of_an_earlier_build_is_booked_at_the_shipped_prices() -> None:
    """Its entry in the journal says nothing of prices."""
    entry = (
        b'{"call_id":"c","provider":"openai","model":"gpt-4o",'
        b'"started_at":"2026-11-30T09:00:00Z","input_tokens":1000}'
    )
    begun = msgspec.json.decode(entry, type=BegunCall)
    booked = orphaned_call(LostCall(number=1, call=begun))
    assert (booked.cost_usd, booked.price_version) == (Decimal("0.0025"), PRICE_VERSION)

"""A call is booked at the price that held when its model was chosen, whatever records say by its end."""

from decimal import Decimal

import pytest

from agents.providers.faults import ServerFault
from streams.control.state import ControlState
from streams.events import Completed
from streams.model_catalogue import PRICE_VERSION
from tests.agents.llm.fakes import Bench, FakeJournal, FakeProvider, answer, delivery, missed
from tests.fakes.model_records import model, state_of
from tests.fakes.providers import clients_of

CLAUDE = "claude-sonnet-4-20250514"
SHIPPED_USD = Decimal("0.00035")  # of 100 tokens of input and 10 of output


def gpt_4o(version: int, usd: int) -> ControlState:
    """The model at another price for input."""
    price = {"input_usd_per_million": usd, "output_usd_per_million": 0}
    return state_of(model("gpt-4o", provider="openai", price=price, version=version))


async def completed(bench: Bench, **request: object) -> Completed:
    (emit,) = await bench.stage.handle(delivery(missed(**request)))
    assert isinstance(emit.value, Completed)
    return emit.value


def prices(event: Completed) -> list[tuple[str, Decimal]]:
    return [(call.price_version, call.cost_usd) for call in event.envelope.calls]


async def test_a_price_that_changes_during_a_call_counts_for_the_next_one() -> None:
    """Also when the record is taken away again."""
    bench = Bench()
    changes = iter([gpt_4o(1, 5), gpt_4o(2, 7), ControlState()])
    bench.openai = FakeProvider(
        "openai",
        [answer(), answer(), answer()],
        before=lambda: bench.models.follow(next(changes)),
    )
    bench.stage.loop._kind.providers = clients_of({"openai": bench.openai})
    found = [prices(await completed(bench, request_id=f"r-{number}"))[0] for number in range(3)]
    assert found == [
        (PRICE_VERSION, SHIPPED_USD),
        ("model:gpt-4o@1", Decimal("0.0005")),
        ("model:gpt-4o@2", Decimal("0.0007")),
    ]


async def test_a_lost_call_keeps_the_price_of_its_beginning() -> None:
    """Its worker died; the one that books it knows another price only."""
    journal = FakeJournal()
    dying = Bench(FakeProvider("openai", []), journal=journal)
    dying.models.follow(gpt_4o(1, 1_000))
    with pytest.raises(IndexError):  # the script is empty: the worker dies within its call
        await dying.stage.handle(delivery())
    event = await completed(Bench([answer()], journal=journal))
    lost, final = event.envelope.calls
    assert lost.orphaned
    assert lost.price_version == "model:gpt-4o@1"
    assert lost.cost_usd == lost.usage.input_tokens * Decimal("0.001") > 0
    assert (final.price_version, final.cost_usd) == (PRICE_VERSION, SHIPPED_USD)


async def test_a_provider_that_is_taken_away_before_the_call_costs_nothing() -> None:
    """The next provider is asked."""
    bench = Bench([answer()], [answer(model=CLAUDE)], fallback_models=(CLAUDE,))
    bench.stage.loop._kind.providers = clients_of({"anthropic": bench.anthropic})
    event = await completed(bench)
    gone, answered = event.envelope.calls
    assert (gone.provider, gone.error, gone.cost_usd) == ("openai", "provider_not_configured", 0)
    assert (answered.provider, answered.error) == ("anthropic", None)


async def test_an_alias_is_the_model() -> None:
    """Its provider, the rows and the cache know it by its own names."""
    bench = Bench([answer(model="gpt-4o-2024-11-20")])
    house = model("house", provider="openai", upstream_name="gpt-4o-2024-11-20", aliases=("best",))
    bench.models.follow(state_of(house))
    event = await completed(bench, model="best")
    (call,) = event.envelope.calls
    assert (call.request_model, call.price_version, call.cost_usd) == ("house", "model:house@1", 0)
    assert bench.openai.calls[0].model == "gpt-4o-2024-11-20"
    assert bench.openai.calls[0].most_tokens == 128_000


async def test_the_calls_of_one_attempt_have_one_price() -> None:
    """The models were chosen with their prices before the first call."""
    bench = Bench()
    changes = iter([gpt_4o(1, 5), gpt_4o(1, 5)])
    bench.openai = FakeProvider(
        "openai", [ServerFault("boom"), answer()], before=lambda: bench.models.follow(next(changes))
    )
    bench.stage.loop._kind.providers = clients_of({"openai": bench.openai})
    failed, answered = (await completed(bench)).envelope.calls
    assert (failed.price_version, answered.price_version) == (PRICE_VERSION, PRICE_VERSION)

"""How long a silent model is waited for, and what its silence says of it."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from agents.llm.chat_calls import LlmSettings
from agents.llm.stage import LlmStage
from agents.providers.faults import ProviderTimeout, ServerFault
from agents.providers.provider import ProviderCall, ProviderEvent, TextDelta
from streams.events import Completed, OutcomeReached, Status
from streams.model_catalogue import ProviderProtocol
from tests.agents.llm.fakes import Bench, FakeClock, answer, delivery, missed
from tests.fakes.providers import clients_of

MODELS = ("claude-sonnet-4-20250514", "gpt-4o-mini")
"""What stands in for gpt-4o."""


class Slow:
    """A provider whose models answer after so many seconds of silence, where they are given as much."""

    def __init__(self, clock: FakeClock, takes_s: dict[str, float]) -> None:
        self.name = "slow"
        self.clock = clock
        self.takes_s = takes_s
        self.patience: list[tuple[str, float]] = []

    def _silence(self, call: ProviderCall, phase: str) -> None:
        allowed_s = call.timeouts.of(phase)
        self.patience.append((call.model, round(allowed_s, 3)))
        takes_s = self.takes_s.get(call.model, float("inf"))
        self.clock.elapsed_s += min(takes_s, allowed_s)
        if takes_s > allowed_s:
            raise ProviderTimeout(phase, after_s=allowed_s)

    async def answer(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        self._silence(call, "first_token" if call.stream else "total")
        if call.stream:
            yield TextDelta("Hello there")
        yield answer(model=call.model)

    async def aclose(self) -> None:
        """Nothing to close."""


class Slowness:
    """A stage with such a provider."""

    def __init__(self, takes_s: dict[str, float] | None = None, **policy: Any) -> None:
        bench = Bench(**({"fallback_models": MODELS} | policy))
        self.clock = bench.clock
        self.stage: LlmStage = bench.stage
        self.provider = Slow(bench.clock, takes_s or {})
        clients = clients_of(dict.fromkeys(ProviderProtocol, self.provider))
        self.stage.loop._kind.providers = self.stage._providers = clients
        self.asked = 0

    async def ask(self, *, deadline_s: float, **request: object) -> Completed | OutcomeReached:
        """Let the stage work on a request of its own, which comes now."""
        self.asked += 1
        event = missed(request_id=f"r-{self.asked}", deadline_s=self.clock.elapsed_s + deadline_s, **request)
        (emit,) = await self.stage.handle(delivery(event))
        assert isinstance(emit.value, Completed | OutcomeReached)
        return emit.value


@pytest.mark.parametrize("stream", [False, True])
async def test_where_every_model_hangs_the_degraded_answer_comes_in_time(stream: bool) -> None:
    """Each model has its turn: half of the time left, the last one all but what the answer's way takes."""
    slowness = Slowness()
    event = await slowness.ask(deadline_s=6, stream=stream)
    assert isinstance(event, OutcomeReached)
    assert event.status is Status.DEGRADED
    assert slowness.provider.patience == [("gpt-4o", 2.5), (MODELS[0], 1.25), (MODELS[1], 1.25)]
    assert slowness.clock.elapsed_s == pytest.approx(5)


@pytest.mark.parametrize("deadline_s", [0.5, 2, 60, 120, 600])
@pytest.mark.parametrize("fallbacks", [(), MODELS])
async def test_no_deadline_is_used_up_by_silence(deadline_s: float, fallbacks: tuple[str, ...]) -> None:
    """The degraded answer is made before it, with one model as with three."""
    slowness = Slowness(fallback_models=fallbacks)
    event = await slowness.ask(deadline_s=deadline_s, stream=True)
    assert isinstance(event, OutcomeReached)
    assert event.status is Status.DEGRADED
    assert slowness.clock.elapsed_s <= deadline_s - min(1, deadline_s / 5) + 1e-6
    assert len(dict(slowness.provider.patience)) == 1 + len(fallbacks)


async def test_a_fallback_that_is_quick_answers_after_a_hang() -> None:
    """With the defaults, too: 29.5 of 60 seconds for the first model, and the second answers."""
    slowness = Slowness({MODELS[0]: 2})
    event = await slowness.ask(deadline_s=60, stream=True)
    assert isinstance(event, Completed)
    assert event.completion.model == MODELS[0]
    assert slowness.provider.patience == [("gpt-4o", 29.5), (MODELS[0], 28.5 / 2 + 0.5)]


async def test_a_slow_model_that_nobody_can_stand_in_for_is_waited_for() -> None:
    """It may take all but the reserve."""
    slowness = Slowness({"gpt-4o": 4.9}, fallback_models=())
    assert isinstance(await slowness.ask(deadline_s=6), Completed)


async def test_a_model_whose_circuit_is_open_can_stand_in_for_nobody() -> None:
    """So the only one that can be asked is not cut short for its sake."""
    slowness = Slowness({"gpt-4o": 4.9}, breaker_threshold=1)
    assert isinstance(await slowness.ask(deadline_s=6), OutcomeReached)
    for name in MODELS:
        permit = await slowness.stage.loop.breakers.permit(name_of(name))
        assert permit is not None
        permit.settle(ServerFault("boom"))
    assert isinstance(await slowness.ask(deadline_s=6), Completed)


async def test_a_stream_that_has_begun_may_use_the_whole_deadline() -> None:
    """Only silence is cut: what comes steadily is not given up for an apology."""
    timeouts = LlmSettings().timeouts(remaining_s=20, reserve_s=1, stream=True, has_next=True)
    assert (timeouts.first_token_s, timeouts.between_tokens_s, timeouts.total_s) == (9.5, 9.5, 20)


def name_of(model: str) -> str:
    """The name of a model's circuit."""
    return f"{'anthropic' if model.startswith('claude') else 'openai'}/{model}"


@pytest.mark.parametrize("stream", [False, True])
async def test_short_deadlines_open_no_circuit(stream: bool) -> None:
    """It was the sender who was in a hurry: others still get their answers, from the model they want."""
    slowness = Slowness({"gpt-4o": 3}, breaker_threshold=2)
    for _ in range(5):
        assert isinstance(await slowness.ask(deadline_s=2, stream=stream), OutcomeReached)
    event = await slowness.ask(deadline_s=60, stream=stream)
    assert isinstance(event, Completed)
    assert event.completion.model == "gpt-4o"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_hangs_is_left_alone_after_a_while(stream: bool) -> None:
    """With the default deadline, too, whose half is a little less than the patience."""
    slowness = Slowness({MODELS[0]: 1}, breaker_threshold=3)
    for _ in range(4):
        assert isinstance(await slowness.ask(deadline_s=59, stream=stream), Completed)
    assert [model for model, _ in slowness.provider.patience].count("gpt-4o") == 3


async def test_a_probe_that_was_cut_short_leaves_the_place_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It neither opens the circuit again nor keeps it shut: a sender with more time finds out."""
    slowness = Slowness(breaker_threshold=1, fallback_models=())
    monkeypatch.setattr("time.time", lambda: slowness.clock.elapsed_s)
    await slowness.ask(deadline_s=32)
    assert await slowness.stage.loop.breakers.permit("openai/gpt-4o") is None
    slowness.clock.elapsed_s += 16
    slowness.provider.takes_s = {"gpt-4o": 3}
    assert isinstance(await slowness.ask(deadline_s=2), OutcomeReached)
    assert isinstance(await slowness.ask(deadline_s=60), Completed)

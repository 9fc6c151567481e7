"""How often a model is asked, and what its silence ends in."""

import pytest
from structlog.testing import capture_logs

from agents.paid_calls.call_policy import CallPermit, CircuitBreakers
from agents.providers.faults import (
    AuthenticationFault,
    ConnectionLost,
    ContextTooLong,
    ModelUnavailable,
    Overloaded,
    ProviderFault,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFault,
)
from streams.events import Status, Usage
from tests.agents.embedding_stage.fakes import Bench, FakeEmbedder, embedded, wanted
from tests.agents.llm.fakes import FakeJournal, at_once


async def test_a_fault_that_passes_is_tried_again() -> None:
    """As the LLM stage waits: 2^n seconds and jitter; the same model, for others' vectors do not compare."""
    bench = Bench([ServerFault("1"), Overloaded("2"), embedded()])
    found = await bench.run()
    assert found.status is Status.ANSWERED
    assert bench.clock.slept == [1.5, 2.5]
    assert [call.error for call in found.envelope.calls] == ["server_error", "overloaded", None]
    assert len({call.model for call in bench.provider.calls}) == 1


async def test_the_provider_says_how_long_to_wait() -> None:
    """Even if that is longer than we would."""
    bench = Bench([RateLimited("slow", retry_after_s=20.0), embedded()])
    await bench.run()
    assert bench.clock.slept == [20.5]


@pytest.mark.parametrize(
    ("fault", "calls", "kind", "code"),
    [
        (RateLimited("slow"), 3, "rate_limit_error", "provider_rate_limited"),
        (RateLimited("slow", retry_after_s=90.0), 1, "rate_limit_error", "provider_rate_limited"),
        (ServerFault("down"), 3, "unavailable_error", "provider_unavailable"),
        (ConnectionLost("reset"), 3, "unavailable_error", "provider_unavailable"),
        (ProviderTimeout("total", after_s=30.0), 3, "unavailable_error", "provider_unavailable"),
        (AuthenticationFault("wrong key"), 1, "unavailable_error", "provider_unavailable"),
        (QuotaExhausted("no credit"), 1, "unavailable_error", "provider_unavailable"),
        (Refused("no", code="invalid_value", param="input"), 1, "invalid_request_error", "invalid_value"),
        (
            ContextTooLong("long", code="context_length_exceeded"),
            1,
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (ModelUnavailable("gone", code="model_not_found"), 1, "invalid_request_error", "model_not_found"),
    ],
)
async def test_what_a_fault_that_stays_ends_in(
    fault: ProviderFault,
    calls: int,
    kind: str,
    code: str,
) -> None:
    """A failed reply with the error that HTTP makes the right status of: there is no degraded answer."""
    bench = Bench([fault] * calls)
    found = await bench.run()
    assert (found.status, found.completion) == (Status.FAILED, None)
    assert found.error is not None
    assert (found.error.type, found.error.code) == (kind, code)
    assert len(found.envelope.calls) == calls


async def test_the_providers_own_words_about_our_account_stay_here() -> None:
    """Whose key it is, and what it says of it, is not the sender's business."""
    found = await Bench([AuthenticationFault("key sk-secret is wrong")]).run()
    assert found.error is not None
    assert "sk-secret" not in found.error.message


@pytest.mark.parametrize(
    ("fault", "level"),
    [
        (AuthenticationFault("wrong key"), "error"),
        (QuotaExhausted("no credit"), "error"),
        (ServerFault("down"), "warning"),
    ],
)
async def test_what_only_an_operator_can_mend_is_logged_as_an_error(fault: ProviderFault, level: str) -> None:
    """A wrong key and a used-up account do not pass by themselves; other faults do."""
    with capture_logs() as lines:
        await Bench([fault, embedded()]).run()
    (line,) = [line for line in lines if line["event"] == "embeddings.call_failed"]
    assert (line["log_level"], line["fault"], line["call_id"]) == (level, fault.error, "call-1")


async def test_without_a_key_nobody_is_asked() -> None:
    """And the error says what is missing."""
    found = await Bench(served=False).run()
    assert found.error is not None
    assert (found.error.type, found.error.code) == ("unavailable_error", "provider_not_configured")


class RefusingCircuits(CircuitBreakers):
    """Refuses so many calls."""

    def __init__(self, *, times: int) -> None:
        super().__init__(threshold=5, reset_s=15.0)
        self.refusals = times

    async def permit(self, name: str) -> CallPermit | None:
        self.refusals -= 1
        return None if self.refusals >= 0 else await super().permit(name)


async def test_a_model_that_fails_again_and_again_is_left_alone() -> None:
    """Its circuit opens; the next request waits for as long as one stays open, and is not sent."""
    bench = Bench([ServerFault("down")] * 3, breaker_threshold=3)
    await bench.run()
    bench.journal.entries.clear()
    bench.clock.slept.clear()
    found = await bench.run(wanted(deadline_ms=120_000))
    assert found.error is not None
    assert found.error.code == "provider_unavailable"
    assert (len(bench.journal.begun), found.envelope.calls) == (3, ())
    assert 15.0 <= sum(bench.clock.slept) <= 16.0


async def test_a_request_outlasts_an_open_circuit() -> None:
    """Faults of others are not its own end, as long as it has time."""
    bench = Bench([embedded()], breakers=RefusingCircuits(times=20))
    assert (await bench.run()).status is Status.ANSWERED
    assert sum(bench.clock.slept) == 10.0


async def test_an_open_circuit_is_not_waited_for_beyond_the_deadline() -> None:
    """The reply that says so still has to arrive."""
    bench = Bench(breakers=RefusingCircuits(times=1_000))
    found = await bench.run(wanted(deadline_ms=5_000))
    assert found.error is not None
    assert found.error.code == "provider_unavailable"
    assert sum(bench.clock.slept) < 4.0


async def test_cancelled_while_the_circuit_is_open() -> None:
    """Nobody waits for it any more."""
    journal = FakeJournal()
    journal.cancelled["r-1"] = "client_disconnected"
    bench = Bench(journal=journal, breakers=RefusingCircuits(times=1_000), pause=at_once)
    assert (await bench.run()).status is Status.CANCELLED


async def test_what_a_broken_call_has_spent_is_booked() -> None:
    """The provider had begun to answer: it bills the texts."""
    cut = ConnectionLost("cut")
    cut.billed_usage = Usage(input_tokens=1_000)
    bench = Bench([cut, embedded()])
    found = await bench.run()
    assert [str(call.cost_usd) for call in found.envelope.calls] == ["0.000020000", "0.000020000"]


async def test_no_wait_goes_beyond_the_deadline() -> None:
    """A request that has too little time left for another try fails now."""
    bench = Bench([ServerFault("down")])
    found = await bench.run(wanted(deadline_ms=1_000))
    assert found.error is not None
    assert found.error.code == "provider_unavailable"
    assert not bench.clock.slept


async def test_a_call_has_the_time_that_is_left() -> None:
    """Less a reserve for the reply to arrive."""
    bench = Bench([embedded()])
    await bench.run(wanted(deadline_ms=10_000))
    assert bench.provider.calls[0].timeouts.total_s == pytest.approx(9.0)


async def test_cancelled_between_two_tries() -> None:
    """The wait ends at once, and what was spent is booked."""
    journal = FakeJournal()
    provider = FakeEmbedder(
        [ServerFault("down")],
        before=lambda: journal.cancelled.update({"r-1": "cancelled_by_sender"}),
    )
    found = await Bench(provider, journal=journal, pause=at_once).run()
    assert found.status is Status.CANCELLED
    assert [call.error for call in found.envelope.calls] == ["server_error"]

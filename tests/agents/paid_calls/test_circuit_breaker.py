"""Opening, probing and closing of circuits."""

import time

import pytest

from agents.paid_calls.call_policy import CircuitBreakers
from agents.providers.faults import RateLimited, Refused, ServerFault


class Wall:
    """The wall clock that the breaker library reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr("purgatory.domain.model.time.time", lambda: self.now)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


async def fail(circuits: CircuitBreakers, times: int, name: str = "m") -> None:
    for _ in range(times):
        permit = await circuits.permit(name)
        assert permit is not None
        permit.settle(ServerFault("boom"))


async def test_faults_in_a_row_open_the_circuit_of_that_model_only() -> None:
    """Others go on."""
    circuits = CircuitBreakers(threshold=3, reset_s=15)
    await fail(circuits, 3)
    assert await circuits.permit("m") is None
    assert await circuits.permit("other") is not None


@pytest.mark.parametrize("fault", [None, RateLimited("slow"), Refused("no")])
async def test_a_sign_of_life_starts_the_count_anew(fault: Refused | RateLimited | None) -> None:
    """A provider that answers, limits or refuses is in good health."""
    circuits = CircuitBreakers(threshold=3, reset_s=15)
    await fail(circuits, 2)
    permit = await circuits.permit("m")
    assert permit is not None
    permit.settle(fault)
    await fail(circuits, 2)
    assert await circuits.permit("m") is not None


async def test_after_the_reset_one_probe_decides(wall: Wall) -> None:
    """While it is out nobody else may call; its success closes the circuit."""
    circuits = CircuitBreakers(threshold=1, reset_s=15)
    await fail(circuits, 1)
    wall.now += 16
    probe = await circuits.permit("m")
    assert probe is not None
    assert await circuits.permit("m") is None
    probe.settle(None)
    assert await circuits.permit("m") is not None
    assert await circuits.permit("m") is not None


async def test_a_failed_probe_opens_the_circuit_again(wall: Wall) -> None:
    """And for the whole time."""
    circuits = CircuitBreakers(threshold=1, reset_s=15)
    await fail(circuits, 1)
    wall.now += 16
    await fail(circuits, 1)
    wall.now += 14
    assert await circuits.permit("m") is None
    wall.now += 2
    assert await circuits.permit("m") is not None


async def test_a_cancelled_probe_leaves_the_place_to_the_next(wall: Wall) -> None:
    """A worker that is stopped during its probe does not keep the circuit shut."""
    circuits = CircuitBreakers(threshold=1, reset_s=15)
    await fail(circuits, 1)
    wall.now += 16
    probe = await circuits.permit("m")
    assert probe is not None
    probe.release()
    assert await circuits.permit("m") is not None

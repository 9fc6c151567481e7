"""Who may wait for a broker that does not answer."""

import asyncio
from contextlib import ExitStack

import pytest

from streams.errors import KafkaUnavailable, RecordTooLarge
from streams.publisher import SendGate


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> SendGate:
    return SendGate(max_silence_s=10.0, max_waiting=3, clock=clock)


def fail(gate: SendGate) -> None:
    """Send, and get no acknowledgement."""
    with pytest.raises(KafkaUnavailable, match="in time"), gate.passing():
        raise KafkaUnavailable("not in time")


def test_a_short_outage_is_waited_out(gate: SendGate, clock: Clock) -> None:
    """Who sends during a broker's restart waits for it."""
    with gate.passing():
        clock.now += 9.9
        with gate.passing():
            pass


def test_in_a_long_outage_only_one_send_finds_out_whether_it_is_over(gate: SendGate, clock: Clock) -> None:
    """The others are refused at once, and told when to come again."""
    with gate.passing():
        clock.now += 10.0
        for _ in range(5):
            with pytest.raises(KafkaUnavailable, match="nothing for 10 s") as refused, gate.passing():
                pass
            assert refused.value.retry_after_s > 0
    with gate.passing(), gate.passing():  # the one that waited was acknowledged
        assert gate.silent_s == 0.0


def test_the_outage_counts_on_over_sends_that_failed(gate: SendGate, clock: Clock) -> None:
    """When everybody has given up, the next one tries, alone: the outage does not begin anew."""
    fail(gate)
    clock.now += 9.0
    with gate.passing():
        clock.now += 1.0
        with pytest.raises(KafkaUnavailable), gate.passing():
            pass
    assert gate.silent_s == 0.0
    with gate.passing(), gate.passing():
        pass


def test_an_idle_time_is_no_outage(gate: SendGate, clock: Clock) -> None:
    """Nobody has sent for an hour: that says nothing about the broker."""
    with gate.passing():
        pass
    clock.now += 3600.0
    with gate.passing(), gate.passing():
        assert gate.silent_s == 0.0


def test_an_outage_of_long_ago_says_nothing_of_today(gate: SendGate, clock: Clock) -> None:
    """The last send before an idle night failed; in the morning nobody is refused for it."""
    fail(gate)
    clock.now += 3600.0
    with gate.passing(), gate.passing():
        assert gate.silent_s == 0.0


@pytest.mark.parametrize("fault", [RecordTooLarge("8 MB"), asyncio.CancelledError()])
def test_what_is_not_the_brokers_fault_is_no_outage(
    gate: SendGate, clock: Clock, fault: BaseException
) -> None:
    """A record too large, or a client that left: nobody else is refused for it."""
    with pytest.raises(type(fault)), gate.passing():
        raise fault
    clock.now += 11.0
    with gate.passing(), gate.passing():
        assert gate.silent_s == 0.0


def test_an_acknowledgement_renews_the_patience_of_those_who_wait(gate: SendGate, clock: Clock) -> None:
    """A broker that is slow is not away."""
    with ExitStack() as slow:
        slow.enter_context(gate.passing())
        for _ in range(5):
            clock.now += 9.0
            with gate.passing():
                pass
        assert gate.silent_s == 0.0


def test_no_more_wait_than_are_allowed(gate: SendGate) -> None:
    """Memory is bounded from the first moment; whoever leaves makes room, acknowledged or not."""
    with gate.passing(), gate.passing():
        with gate.passing(), pytest.raises(KafkaUnavailable, match="3 sends wait"), gate.passing():
            pass
        fail(gate)
        with gate.passing():
            pass

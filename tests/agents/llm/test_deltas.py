"""Coalescing, order and bounds of published pieces."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agents.llm import deltas
from agents.llm.deltas import DeltaPace, DeltaStream
from streams.codec import header
from streams.publisher import Emit, Position
from tests.agents.llm.fakes import FakeSink, missed


async def never(_seconds: float) -> None:
    await asyncio.Event().wait()


async def at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


def pace() -> DeltaPace:
    return DeltaPace(records_per_s=100)


def stream(
    sink: FakeSink,
    *,
    sleep: Callable[[float], Awaitable[None]] = never,
    max_chars: int = 100,
    shared: DeltaPace | None = None,
) -> DeltaStream:
    return DeltaStream(
        sink,
        envelope=missed().envelope,
        attempt=2,
        pace=shared or pace(),
        max_chars=max_chars,
        sleep=sleep,
    )


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_first_text_goes_out_at_once_and_the_next_waits_for_the_interval() -> None:
    """The watcher sees the first word without delay; the rest comes together."""
    sink = FakeSink()
    under_test = stream(sink)
    under_test.feed("first")
    await settle()
    under_test.feed(" second")
    under_test.feed(" third")
    await settle()
    assert [emit.value.text for emit in sink.emits] == ["first"]
    await under_test.close()
    assert [emit.value.text for emit in sink.emits] == ["first", " second third"]


async def test_enough_text_does_not_wait_for_the_interval() -> None:
    """A record goes out when it has grown to its size."""
    sink = FakeSink()
    under_test = stream(sink, max_chars=10)
    under_test.feed("a")
    await settle()
    under_test.feed("0123456789")
    await settle()
    assert [emit.value.text for emit in sink.emits] == ["a", "0123456789"]
    await under_test.abandon()


async def test_numbers_rise_from_zero_without_gaps() -> None:
    """Watchers tell repeats and gaps by them; each record's id is made of them."""
    sink = FakeSink()
    under_test = stream(sink, sleep=at_once)
    for number in range(10):
        under_test.feed(f"{number} ")
        await settle()
    await under_test.close()
    assert [emit.value.seq for emit in sink.emits] == list(range(10))
    assert {emit.value.attempt for emit in sink.emits} == {2}
    assert header(sink.emits[3].headers, "ce_id") == b"r-1:2:3"


async def test_nothing_is_published_for_no_text() -> None:
    """The guard often holds back everything it is given."""
    sink = FakeSink()
    under_test = stream(sink)
    under_test.feed("")
    await under_test.close()
    assert sink.emits == []


async def test_after_abandoning_nothing_more_goes_out() -> None:
    """A call that failed leaves no text behind."""
    sink = FakeSink()
    under_test = stream(sink)
    under_test.feed("a")
    await settle()
    under_test.feed("b")
    await under_test.abandon()
    under_test.feed("c")
    await settle()
    assert sink.text == "a"


class StuckSink(FakeSink):
    """A broker that never acknowledges."""

    async def publish(self, emit: Emit) -> Position:
        self.emits.append(emit)
        await asyncio.Event().wait()
        raise AssertionError("never reached")


async def test_a_stuck_broker_costs_bounded_memory_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is dropped beyond its bound, and closing does not wait for ever."""
    monkeypatch.setattr(deltas, "_CLOSE_TIMEOUT_S", 0.01)
    sink = StuckSink()
    under_test = stream(sink)
    under_test.feed("a")
    await settle()
    for _ in range(300):
        under_test.feed("x" * 1000)
    assert len(under_test._waiting) <= 256_000
    await under_test.close()
    assert len(sink.emits) == 1


async def test_after_a_failure_no_later_piece_leaves_a_gap() -> None:
    """A watcher must never read on after a hole: publishing stops at the first failure."""
    sink = FakeSink(fails_after=1)
    under_test = stream(sink, sleep=at_once)
    for number in range(5):
        under_test.feed(f"{number} ")
        await settle()
    await under_test.close()
    assert sink.text == "0 "


@pytest.mark.parametrize(
    ("streams", "interval_s"), [(0, 0.03), (1, 0.03), (3, 0.03), (20, 0.2), (100, 1.0), (5_000, 1.0)]
)
def test_many_streams_share_the_records_of_a_second(streams: int, interval_s: float) -> None:
    """Few publish as often as they may; many so seldom that together they keep to the number, to a limit."""
    shared = pace()
    shared.streams = streams
    assert shared.interval_s == pytest.approx(interval_s)


async def test_a_stream_waits_for_as_long_as_its_fellows_make_it() -> None:
    """Each stream with text counts, until it has ended, however it does."""
    shared, sink, waited = pace(), FakeSink(), list[float]()

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await never(seconds)

    streams = [stream(sink, sleep=sleep, shared=shared) for _ in range(50)]
    for each in streams:
        each.feed("first")
    await settle()
    assert waited == pytest.approx([0.5] * 50)
    assert len(sink.emits) == 50  # no first text waits
    for each in streams[:25]:
        each.feed(" last")
        await each.close()
    for each in streams[25:-1]:
        await each.abandon()
        await each.abandon()
    await stream(sink, shared=shared).abandon()
    assert shared.interval_s == 0.03
    await streams[-1].abandon()

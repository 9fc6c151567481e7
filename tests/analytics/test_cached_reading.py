"""One reading for all who ask."""

import asyncio

import pytest
from structlog.testing import capture_logs

from analytics.api.health import CachedReading, SourceReading
from streams.errors import KafkaUnavailable


class Source:
    """A source that counts who asks it, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.now = 100.0

    async def read(self) -> int:
        """Answer with the number of times that it was asked."""
        self.asked += 1
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return self.asked

    def shared(self, timeout_s: float = 30) -> CachedReading[int]:
        """Share it."""
        return CachedReading("it", self.read, fresh_for_s=1.0, timeout_s=timeout_s, clock=lambda: self.now)


async def test_all_who_ask_at_once_get_the_same_reading() -> None:
    """Many open pages cost one."""
    source = Source()
    shared = source.shared()
    assert await asyncio.gather(*(shared.get() for _ in range(50))) == [SourceReading(value=1)] * 50
    assert source.asked == 1


async def test_a_reading_is_given_again_for_a_while() -> None:
    """And then asked for anew."""
    source = Source()
    shared = source.shared()
    await shared.get()
    source.now += 0.9
    assert await shared.get() == SourceReading(value=1)
    source.now += 0.2
    assert await shared.get() == SourceReading(value=2)


async def test_a_slow_source_is_not_asked_twice() -> None:
    """Who waits is told that there is no answer; the reading goes on, and the next one gets it."""
    source = Source()
    shared = source.shared(timeout_s=0)
    source.open.clear()
    assert await shared.get() == await shared.get() == SourceReading(fault="no answer within 0 s")
    source.open.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await shared.get() == SourceReading(value=1)


async def test_a_source_that_is_away_says_why() -> None:
    """As a value: the other parts are shown all the same. It is asked again as others are."""
    source = Source()
    shared = source.shared()
    source.fault = KafkaUnavailable("no broker")
    assert await shared.get() == SourceReading(fault="no broker")
    source.fault = None
    assert await shared.get() == SourceReading(fault="no broker")
    source.now += 1
    assert await shared.get() == SourceReading(value=2)


async def test_an_outage_is_logged_when_it_begins() -> None:
    """Not at each look: pages and probes look every few seconds."""
    source = Source()
    shared = source.shared()
    with capture_logs() as lines:
        for fault in ("first", "first, still", None, "second"):
            source.fault = None if fault is None else KafkaUnavailable(fault)
            source.now += 1
            await shared.get()
    assert [line["error"] for line in lines] == ["first", "second"]


async def test_a_bug_is_not_taken_for_an_outage() -> None:
    """It comes out where it can be seen."""
    source = Source()
    source.fault = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        await source.shared().get()


async def test_closing_ends_what_is_under_way() -> None:
    """Whatever the source does."""
    source = Source()
    source.open.clear()
    shared = source.shared(timeout_s=0)
    await shared.get()
    await shared.close()
    assert len(asyncio.all_tasks()) == 1
    await shared.close()

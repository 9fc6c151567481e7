"""A stage runner whose stage, publisher and clock do as they are told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from agents.runner.dead_letters import DeadLetters
from agents.runner.in_flight import RecordWork
from agents.runner.record_retry import RecordRetryPolicy
from agents.runner.stage_handler import StageHandler
from agents.runner.stage_runner import StageRunner
from agents.stage import Delivery, Record
from streams.errors import RecordTooLarge, StoreUnavailable
from streams.events import RequestGuarded
from streams.pipeline import StageSpec
from streams.publisher import Emit, Position
from streams.topics import DEAD_LETTERS, GUARDED, MISSES, Topic
from tests.fakes.envelopes import NOW, envelope, record

#: Everything is waited out in the stage: what the retry topic is for has tests of its own.
IN_PLACE = RecordRetryPolicy(in_place_s=1e9, attempts=3, max_delay_s=8)
ASIDE = RecordRetryPolicy(in_place_s=5, attempts=3, max_delay_s=8)


@dataclass
class Clock:
    """A clock that moves only when somebody sleeps."""

    now: Any = NOW
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> Any:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


@dataclass
class Sends:
    """A publisher that keeps what is sent; `refuse` says what becomes of a record."""

    diary: list[str]
    refuse: Callable[[Emit, int], Exception | None] = lambda emit, tries: None
    sent: list[Emit] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)

    async def publish(self, emit: Emit) -> Position:
        tries = self.tries[emit.topic] = self.tries.get(emit.topic, 0) + 1
        await asyncio.sleep(0)
        fault = self.refuse(emit, tries)
        if fault is not None:
            self.diary.append(f"refused {emit.topic}")
            raise fault
        self.sent.append(emit)
        self.diary.append(f"sent {emit.topic}")
        return Position(emit.topic, 0, len(self.sent))

    def on(self, topic: Topic) -> list[Emit]:
        return [emit for emit in self.sent if emit.topic == topic.name]


@dataclass
class ScriptedStage:
    """A stage whose `handle` is a function."""

    do: Callable[[Delivery[Any]], Sequence[Emit]]
    diary: list[str]
    source: Topic = GUARDED
    spends: bool = False
    handled: list[Delivery[Any]] = field(default_factory=list)
    noted: list[Delivery[Any]] = field(default_factory=list)
    note_faults: int = 0

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="scripted", source=self.source, next=MISSES, spends=self.spends)

    async def handle(self, delivery: Delivery[Any]) -> Sequence[Emit]:
        self.diary.append("handle")
        self.handled.append(delivery)
        return self.do(delivery)

    async def delivered(self, delivery: Delivery[Any]) -> None:
        self.diary.append("delivered")
        if self.note_faults:
            self.note_faults -= 1
            raise StoreUnavailable("away")
        self.noted.append(delivery)


@dataclass
class SpendingStage(ScriptedStage):
    """One that spends money."""

    @property
    def spec(self) -> StageSpec:
        return msgspec.structs.replace(super().spec, spends=True)

    async def recover_calls(self, delivery: Delivery[Any], fault: BaseException) -> Any:
        self.diary.append(f"recover_calls {type(fault).__name__}")
        return delivery.event


class Run:
    """A stage, its publisher and its clock, run over one record at a time."""

    def __init__(
        self,
        do: Callable[[Delivery[Any]], Sequence[Emit]],
        *,
        source: Topic = GUARDED,
        refuse: Callable[[Emit, int], Exception | None] = lambda emit, tries: None,
        reply_topics: Sequence[str] = (),
        retry: RecordRetryPolicy = IN_PLACE,
        until_deadline: bool = False,
        kind: type[ScriptedStage] = ScriptedStage,
        knows: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self.diary: list[str] = []
        self.clock = Clock()
        self.stage = kind(do, self.diary, source=source, spends=until_deadline)
        self.sends = Sends(self.diary, refuse)
        handler = StageHandler(
            self.stage,
            DeadLetters(reply_topics=reply_topics, default_deadline_ms=30_000),
            retry=retry,
            default_deadline_ms=30_000,
            knows=knows,
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        self.runner = StageRunner(handler, self.sends)

    async def __call__(self, given: Record) -> RecordWork:
        work = RecordWork(given.place, 0.0)
        assert await self.runner.run(given, work)
        return work


def guarded(**fields: Any) -> Record:
    event = RequestGuarded(envelope=envelope(**fields))
    return record(event, topic=GUARDED, key=b"r-1", headers=[("x", b"1"), ("x", b"2")])


def forward(delivery: Delivery[Any]) -> Sequence[Emit]:
    return (Emit.to(MISSES, delivery.event, key="r-1"),)


def failing(fault: Exception) -> Callable[[Delivery[Any]], Sequence[Emit]]:
    def do(_: Delivery[Any]) -> Sequence[Emit]:
        raise fault

    return do


def value(emit: Emit) -> Any:
    return emit.value


def assert_buried(run: Run, given: Record, exception: str) -> None:
    (letter,) = run.sends.on(DEAD_LETTERS)
    assert (letter.key, letter.value) == (given.key, given.value)
    assert letter.headers[: len(given.headers)] == given.headers
    errors = {
        name.removeprefix("__streams.errors."): text for name, text in letter.headers[len(given.headers) :]
    }
    message = errors.pop("message")
    assert message is not None
    assert errors == {
        "exception": exception.encode(),
        "topic": given.topic.encode(),
        "partition": b"3",
        "offset": b"7",
        "timestamp": b"%d" % given.timestamp_ms,
        "stage": b"scripted",
    }


def too_large(topic: Topic) -> Callable[[Emit, int], Exception | None]:
    return lambda emit, tries: RecordTooLarge("9 MB") if emit.topic == topic.name else None

"""A clock that does not wait, a provider with a script, and a journal, a sink and a guard in memory."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec

from agents.llm.chat_calls import GuardFactory, LlmSettings
from agents.llm.stage import LlmStage
from agents.paid_calls.paid_request import CallPorts
from agents.providers.faults import ProviderFault
from agents.providers.provider import Answer, ProviderCall, ProviderEvent, TextDelta
from agents.stage import Delivery, Record
from agents.stores.journal_entries import (
    AlreadySent,
    BegunCall,
    Cancelled,
    Claim,
    Claimed,
    Fenced,
    HeldElsewhere,
    JournaledCalls,
    Lease,
    LeaseState,
    LostCall,
    ResultStored,
)
from streams.control.catalogue import LiveCatalogue
from streams.errors import KafkaUnavailable, StoreUnavailable
from streams.events import (
    CacheMissed,
    ChatRequested,
    Envelope,
    LlmCall,
    Message,
    ReplyAddress,
    Usage,
)
from streams.model_catalogue import ProviderProtocol
from streams.publisher import Emit, Position
from tests.fakes.providers import clients_of

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


class FakeClock:
    """Time passes only by sleeping, or where a test says so."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed_s += seconds
        await asyncio.sleep(0)


def answer(
    text: str = "Hello there", *, model: str = "gpt-4o", finish: str = "stop", **more: object
) -> Answer:
    usage = Usage(input_tokens=100, output_tokens=10)
    return msgspec.structs.replace(Answer(text=text, model=model, finish_reason=finish, usage=usage), **more)


Step = Answer | ProviderFault | list[ProviderEvent | ProviderFault]


HANGS = object()
"""Nothing (more) comes."""


async def never(_seconds: float) -> None:
    """A pause that does not end: nobody looks whether a call is still wanted."""
    await asyncio.Event().wait()


async def at_once(_seconds: float) -> None:
    """A pause that is over as soon as everybody else had a turn."""
    for _ in range(5):
        await asyncio.sleep(0)


class FakeProvider:
    """Does the next thing of its script at each call: an answer, a fault, or a stream of events."""

    def __init__(
        self, name: str, script: Iterable[Step], *, before: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self._script = list(script)
        self._before = before
        self.calls: list[ProviderCall] = []
        self.closed_streams = 0

    def _next(self, call: ProviderCall) -> Step:
        self.calls.append(call)
        if self._before is not None:
            self._before()
        return self._script.pop(0)

    async def answer(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent]:
        step = self._next(call)
        assert call.stream or not isinstance(step, list), "the script has a stream for a whole answer"
        if isinstance(step, Answer) and call.stream:
            step = [TextDelta(step.text), step]
        try:
            for event in step if isinstance(step, list) else [step]:
                if isinstance(event, BaseException):
                    raise event
                if event is HANGS:
                    await asyncio.Event().wait()
                yield event
                await asyncio.sleep(0)
        finally:
            self.closed_streams += 1

    async def aclose(self) -> None:
        """Nothing to close."""


class FakeJournal:
    """The journal's rules in memory, and switches for Redis being away."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, object]] = {}
        self.begun: list[BegunCall] = []
        self.away_for: dict[str, int] = {}
        self.cancelled: dict[str, str] = {}
        self.looks: list[list[str]] = []

    def _step(self, name: str) -> None:
        if self.away_for.get(name, 0):
            self.away_for[name] -= 1
            raise StoreUnavailable(f"Redis: {name} failed")

    def take_over(self, request_id: str) -> None:
        """Let another worker claim the request."""
        entry = self.entries[request_id]
        entry["lease"] = msgspec.structs.replace(entry["lease"], attempt=entry["lease"].attempt + 1)

    async def claim(
        self,
        request_id: str,
        *,
        record: str,
        instance: str,
        deadline_at: datetime,
        now: datetime,
        replay: int = 0,
    ) -> Claim:
        self._step("claim")
        entry = self.entries.setdefault(request_id, {"begun": {}, "ended": {}, "deadline": deadline_at})
        held = entry.get("lease")
        attempt = held.attempt if held else 0
        lease = Lease(request_id=request_id, record=record, attempt=attempt, replay=replay)
        if entry.get("sent"):
            return AlreadySent()
        if "result" in entry:
            entry["lease"] = lease
            return ResultStored(lease=lease, result=entry["result"])
        if held and held.record != record and now < entry["deadline"]:
            return HeldElsewhere(held.record)
        lease = entry["lease"] = msgspec.structs.replace(lease, attempt=attempt + 1)
        lost = [LostCall(number=n, call=c) for n, c in entry["begun"].items() if n not in entry["ended"]]
        return Claimed(lease=lease, lost_calls=tuple(lost), known_calls=tuple(entry["ended"].values()))

    async def begin_call(self, lease: Lease, call: BegunCall, *, after: int = 0) -> int:
        self._step("begin_call")
        entry = self.entries[lease.request_id]
        if entry["lease"] != lease:
            raise Fenced(lease)
        if lease.request_id in self.cancelled:
            raise Cancelled(lease, self.cancelled[lease.request_id])
        number = max([after, *entry["begun"]]) + 1
        entry["begun"][number] = call
        self.begun.append(call)
        return number

    async def end_call(self, lease: Lease, ended: LlmCall) -> None:
        self._step("end_call")
        self.entries[lease.request_id]["ended"][ended.attempt] = ended

    async def lease_states(self, leases: Sequence[Lease]) -> list[LeaseState]:
        self._step("lease_states")
        self.looks.append([lease.request_id for lease in leases])
        return [
            LeaseState(
                held=self.entries[lease.request_id]["lease"] == lease,
                cancelled=self.cancelled.get(lease.request_id),
            )
            for lease in leases
        ]

    async def calls(self, request_id: str, *, record: str) -> JournaledCalls:
        self._step("calls")
        entry = self.entries.get(request_id, {})
        if "lease" not in entry or entry["lease"].record != record:
            return JournaledCalls()
        lost = [LostCall(number=n, call=c) for n, c in entry["begun"].items() if n not in entry["ended"]]
        return JournaledCalls(lost_calls=tuple(lost), known_calls=tuple(entry["ended"].values()))

    async def finish(self, lease: Lease, result: bytes) -> bool:
        self._step("finish")
        entry = self.entries[lease.request_id]
        if entry["lease"] != lease:
            return False
        entry["result"] = result
        return True

    async def sent(self, lease: Lease) -> None:
        self._step("sent")
        if self.entries[lease.request_id]["lease"] == lease:
            self.entries[lease.request_id]["sent"] = True


class FakeSink:
    """Keeps what is published; fails from the record after `fails_after` on."""

    def __init__(self, *, fails_after: int | None = None) -> None:
        self.emits: list[Emit] = []
        self._fails_after = fails_after

    async def publish(self, emit: Emit) -> Position:
        await asyncio.sleep(0)
        if self._fails_after is not None and len(self.emits) >= self._fails_after:
            raise KafkaUnavailable("not acknowledged")
        self.emits.append(emit)
        return Position(emit.topic, emit.partition or 0, len(self.emits))

    @property
    def text(self) -> str:
        return "".join(emit.value.text for emit in self.emits)


class FakeGuard:
    """Blocks at a banned word, and leases back as many characters as it has, less one."""

    def __init__(self, banned: str = "FORBIDDEN") -> None:
        self._banned = banned
        self._held = ""
        self.blocked_by: str | None = None

    def feed(self, chunk: str) -> str:
        self._held += chunk
        at = self._held.find(self._banned)
        if at >= 0:
            safe, self._held, self.blocked_by = self._held[:at], "", "banned"
            return safe
        keep = len(self._banned) - 1
        safe, self._held = self._held[:-keep], self._held[-keep:]
        return safe

    def finish(self) -> tuple[str, object]:
        rest, self._held = self._held, ""
        return rest, None


def missed(
    *,
    request_id: str = "r-1",
    deadline_s: float = 60.0,
    reply_to: ReplyAddress | None = None,
    text: str = "What is a headrace?",
    max_output_tokens: int = 200,
    **request: object,
) -> CacheMissed:
    """A request for the stage."""
    envelope = Envelope(
        request_id=request_id,
        tenant="acme",
        user_id="u-1",
        tier="standard",
        accepted_at=NOW,
        deadline_at=NOW + timedelta(seconds=deadline_s),
        request=ChatRequested(user_id="u-1", query=text, **request),
        reply_to=reply_to or ReplyAddress(topic="llm.replies.v1", partition=3),
    )
    return CacheMissed(
        envelope=envelope,
        messages=(Message(role="user", content=text),),
        default_model="gpt-4o",
        max_output_tokens=max_output_tokens,
    )


def delivery(event: CacheMissed | None = None, *, offset: int = 7) -> Delivery[CacheMissed]:
    """The event in its record."""
    record = Record(topic="llm.misses.v1", partition=0, offset=offset, timestamp_ms=0)
    return Delivery(event=event or missed(), record=record)


class Bench:
    """A stage and everything around it."""

    def __init__(
        self,
        openai: Iterable[Step] | FakeProvider = (),
        anthropic: Iterable[Step] | FakeProvider | None = None,
        *,
        journal: FakeJournal | None = None,
        sink: FakeSink | None = None,
        pause: Callable[[float], Awaitable[None]] = never,
        guards: GuardFactory = lambda _event: FakeGuard(),
        **policy: object,
    ) -> None:
        self.clock = FakeClock()
        self.journal = journal or FakeJournal()
        self.sink = sink or FakeSink()
        self.openai = openai if isinstance(openai, FakeProvider) else FakeProvider("openai", openai)
        providers = {ProviderProtocol.OPENAI: self.openai}
        if anthropic is not None:
            self.anthropic = (
                anthropic if isinstance(anthropic, FakeProvider) else FakeProvider("anthropic", anthropic)
            )
            providers[ProviderProtocol.ANTHROPIC] = self.anthropic
        numbers = count(1)
        self.models = LiveCatalogue()
        self.stage = LlmStage(
            providers=clients_of(providers),
            publisher=self.sink,
            guards=guards,
            settings=LlmSettings(**policy),
            ports=CallPorts(
                journal=self.journal,
                models=self.models,
                clock=self.clock,
                new_call_id=lambda: f"call-{next(numbers)}",
                jitter=lambda: 0.5,
                pause=pause,
            ),
        )

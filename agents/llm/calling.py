"""One call to a provider, from its first byte to its entry in the books."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec

from agents.llm import booking
from agents.llm.booking import CallTimes
from agents.llm.deltas import DeltaStream
from agents.llm.policy import LlmPolicy
from agents.llm.ports import CallJournal, Clock, DeltaSink, GuardFactory, StreamGuard
from agents.llm.prompt import publishes_deltas
from agents.llm.routing import Route
from agents.providers.faults import ConnectionLost, ProviderFault
from agents.providers.port import Answer, Provider, ProviderCall, TextDelta, UsageKnown
from agents.providers.usage import estimate
from agents.stores.journal import Fenced, Hold
from streams.errors import StoreUnavailable
from streams.events import CacheMissed, LlmCall, Usage

_FENCE_CHECK_INTERVAL_S = 1.0


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """How a call went: its entry in the books, and its answer or its fault."""

    booked: LlmCall
    answer: Answer | None = None
    fault: ProviderFault | None = None


class Caller:
    """Makes calls, and publishes what they bring on the way where the request wants it.

    Args:
        journal: tells whether another attempt has taken over.
        deltas: where checked pieces of the answer are published.
        guards: makes the guard that checks a streamed answer.
        clock: the time.
        policy: the stage's settings.
    """

    def __init__(
        self,
        *,
        journal: CallJournal,
        deltas: DeltaSink,
        guards: GuardFactory,
        clock: Clock,
        policy: LlmPolicy,
    ) -> None:
        self._journal = journal
        self._deltas = deltas
        self._guards = guards
        self._clock = clock
        self._policy = policy

    async def call(
        self,
        provider: Provider,
        route: Route,
        call: ProviderCall,
        *,
        event: CacheMissed,
        hold: Hold,
        number: int,
    ) -> Called:
        """Make one call. A fault of the provider is part of what is returned.

        Raises:
            Fenced: another attempt took over; the call was stopped, nothing more was published.
        """
        started_at, started = self._clock.now(), self._clock.monotonic()
        reading = _Reading(call)
        fault: ProviderFault | None = None
        try:
            if event.envelope.request.stream:
                await self._stream(provider, call, event=event, hold=hold, number=number, reading=reading)
            else:
                reading.answer = await provider.complete(call)
        except ProviderFault as error:
            fault = error
        if reading.blocked and reading.answer is None:
            reading.stop()
            fault = None
        first = reading.first_text_at
        times = CallTimes(
            started_at=started_at,
            duration_us=_microseconds(self._clock.monotonic() - started),
            first_token_us=None if first is None else _microseconds(first - started),
        )
        if reading.answer is None:
            fault = fault or ConnectionLost("the provider ended the stream without an answer")
            booked = booking.failed(route, fault, call_id=call.call_id, number=number, times=times)
            return Called(booked=booked, fault=fault)
        booked = booking.answered(route, reading.answer, call_id=call.call_id, number=number, times=times)
        return Called(booked=booked, answer=reading.answer)

    async def _stream(
        self,
        provider: Provider,
        call: ProviderCall,
        *,
        event: CacheMissed,
        hold: Hold,
        number: int,
        reading: "_Reading",
    ) -> None:
        if not publishes_deltas(event.envelope.request):
            await self._read(provider, call, hold, reading, None)
            return
        publication = _Publication(
            self._guards(event),
            DeltaStream(
                self._deltas,
                envelope=event.envelope,
                attempt=number,
                interval_s=self._policy.delta_interval_s,
                max_chars=self._policy.delta_max_chars,
                sleep=self._clock.sleep,
            ),
        )
        try:
            await self._read(provider, call, hold, reading, publication)
            await publication.finish()
        finally:
            await publication.deltas.abandon()

    async def _read(
        self,
        provider: Provider,
        call: ProviderCall,
        hold: Hold,
        reading: "_Reading",
        publication: "_Publication | None",
    ) -> None:
        checked_at = self._clock.monotonic()
        async with _stoppable() as limit, aclosing(provider.stream(call)) as stream:
            async for event in stream:
                now = self._clock.monotonic()
                if now - checked_at >= _FENCE_CHECK_INTERVAL_S:
                    checked_at = now
                    await self._check_fence(hold)
                match event:
                    case TextDelta(text):
                        reading.take_text(text, now)
                        if publication is not None and not reading.blocked and not publication.take(text):
                            # Nothing more is published, but what the provider has on its way is billed:
                            # read on for a moment, to book what it says rather than an estimate.
                            reading.blocked = True
                            limit.reschedule(asyncio.get_running_loop().time() + self._policy.read_on_s)
                    case UsageKnown(usage, model):
                        reading.usage, reading.model = usage, model
                    case Answer():
                        reading.answer = event

    async def _check_fence(self, hold: Hold) -> None:
        try:
            if await self._journal.holds(hold):
                return
        except StoreUnavailable:
            return  # not known: the result's own fence decides
        raise Fenced(hold)


@asynccontextmanager
async def _stoppable() -> AsyncIterator[asyncio.Timeout]:
    """A bound on what is read, for after a block: the call is stopped where it is reached."""
    try:
        async with asyncio.timeout(None) as limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise


class _Publication:
    """The way of a streamed answer through its guard to its watcher."""

    def __init__(self, guard: StreamGuard, deltas: DeltaStream) -> None:
        self._guard = guard
        self.deltas = deltas

    def take(self, text: str) -> bool:
        """Publish what is safe; False when the guard has blocked the answer."""
        self.deltas.feed(self._guard.feed(text))
        return self._guard.blocked_by is None

    async def finish(self) -> None:
        """Publish the rest."""
        if self._guard.blocked_by is None:
            rest, _ = self._guard.finish()
            self.deltas.feed(rest)
        await self.deltas.close()


class _Reading:
    """What has come of an answer so far."""

    def __init__(self, call: ProviderCall) -> None:
        self._call = call
        self._text: list[str] = []
        self.first_text_at: float | None = None
        self.usage: Usage | None = None
        self.model = call.model
        self.answer: Answer | None = None
        self.blocked = False

    def take_text(self, text: str, now: float) -> None:
        """Take the next piece."""
        if self.first_text_at is None:
            self.first_text_at = now
        self._text.append(text)

    def stop(self) -> None:
        """End the answer here: the guard has blocked it. What was spent so far is billed."""
        text = "".join(self._text)
        self.answer = Answer(
            text=text,
            model=self.model,
            finish_reason="content_filter",
            usage=estimate(input_tokens=self._call.input_tokens, text=text, reported=self.usage),
        )


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)

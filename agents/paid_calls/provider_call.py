"""One call to a provider, from its first byte to its entry in the books."""

from contextlib import aclosing

import msgspec

from agents.llm.deltas import DeltaPace, DeltaStream
from agents.llm.prompt import publishes_deltas
from agents.paid_calls.call_progress import Reading
from agents.paid_calls.cancellation_watch import Watch, stoppable
from agents.paid_calls.policy import LlmPolicy
from agents.paid_calls.ports import Clock, DeltaSink, GuardFactory, StreamGuard
from agents.providers.faults import ConnectionLost, ProviderFault
from agents.providers.port import Answer, Provider, ProviderCall, TextDelta
from streams.events import CacheMissed, LlmCall

#: What `LlmCall.error` says of a call that was stopped because its request was cancelled.
CANCELLED = "cancelled"

_Reading = Reading[ProviderCall]


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """How a call went: its entry in the books, and its answer, its fault, or what has cancelled it.

    `telling`: whether that says something of the provider's health. Where the call was cancelled, or the
    request's own deadline has cut it short, it does not.
    """

    booked: LlmCall
    answer: Answer | None = None
    fault: ProviderFault | None = None
    cancelled: str | None = None
    telling: bool = True


class Caller:
    """Makes calls, and publishes what they bring on the way where the request wants it.

    Args:
        deltas: where checked pieces of the answer are published.
        guards: makes the guard that checks a streamed answer.
        clock: the time.
        policy: the stage's settings.
    """

    def __init__(self, *, deltas: DeltaSink, guards: GuardFactory, clock: Clock, policy: LlmPolicy) -> None:
        self._deltas = deltas
        self._guards = guards
        self._clock = clock
        self._policy = policy
        self._pace = DeltaPace(
            interval_s=policy.delta_interval_s,
            max_interval_s=policy.delta_max_interval_s,
            records_per_s=policy.delta_records_per_s,
        )

    async def call(
        self, provider: Provider, reading: _Reading, *, event: CacheMissed, watch: Watch
    ) -> Called:
        """Make one call. A fault of the provider is part of what is returned.

        Args:
            provider: who is asked.
            reading: the call; what comes of it is gathered there.
            event: the request.
            watch: stops the call when it is not wanted any more. An answer that is there first counts.

        Raises:
            Fenced: another attempt took over; the call was stopped, nothing more was published.
        """
        fault: ProviderFault | None = None
        try:
            async with watch.over():
                if event.envelope.request.stream:
                    await self._stream(provider, reading, event=event)
                else:
                    reading.take(await provider.complete(reading.call), self._clock.monotonic())
        except ProviderFault as error:
            fault = error
        now = self._clock.monotonic()
        if reading.answer is None and watch.cancelled is not None:
            booked = reading.failed(fault, now) if fault else reading.cut_off(CANCELLED, now)
            return Called(booked=booked, cancelled=watch.cancelled, telling=False)
        if reading.blocked and reading.answer is None:
            reading.stop()
        if reading.answer is None:
            fault = fault or ConnectionLost("the provider ended the stream without an answer")
            telling = not self._policy.cut_short(fault, reading.call.timeouts, begun=reading.begun)
            return Called(booked=reading.failed(fault, now), fault=fault, telling=telling)
        return Called(booked=reading.answered(reading.answer, now), answer=reading.answer)

    async def _stream(self, provider: Provider, reading: _Reading, *, event: CacheMissed) -> None:
        if not publishes_deltas(event.envelope.request):
            await self._read(provider, reading, None)
            return
        publication = _Publication(
            self._guards(event),
            DeltaStream(
                self._deltas,
                envelope=event.envelope,
                attempt=reading.number,
                pace=self._pace,
                max_chars=self._policy.delta_max_chars,
                sleep=self._clock.sleep,
            ),
        )
        try:
            await self._read(provider, reading, publication)
            await publication.finish()
        finally:
            await publication.deltas.abandon()

    async def _read(self, provider: Provider, reading: _Reading, publication: "_Publication | None") -> None:
        async with stoppable() as stop, aclosing(provider.stream(reading.call)) as stream:
            async for event in stream:
                reading.take(event, self._clock.monotonic())
                if publication is None or reading.blocked or not isinstance(event, TextDelta):
                    continue
                if not publication.take(event.text):
                    # Nothing more is published, but what the provider has on its way is billed: read on for
                    # a moment, to book what it says rather than an estimate.
                    reading.blocked = True
                    stop.within(self._policy.read_on_s)


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

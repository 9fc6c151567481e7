"""Chat calls: a request's text goes to a model, and a streamed answer through its guard to its watcher."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing

from agents.checks.streaming_guard import StreamingGuard
from agents.llm.deltas import DeltaPace, DeltaStream
from agents.llm.provider_call import provider_call, publishes_deltas
from agents.llm.settings import LlmSettings
from agents.paid_calls.call_progress import CallProgress
from agents.paid_calls.cancellation_watch import stoppable
from agents.paid_calls.paid_request import PaidRequest
from agents.paid_calls.ports import Clock
from agents.paid_calls.route import Route
from agents.providers.faults import ProviderFault
from agents.providers.provider import Answer, Provider, ProviderCall, TextDelta, Timeouts
from agents.providers.usage import count_input, tier_name
from agents.stores.journal_entries import Lease
from streams.events import CacheMissed, LlmCall
from streams.models import ProviderName
from streams.publisher import Publisher

#: Makes the guard that checks the streamed answer to one request.
GuardFactory = Callable[[CacheMissed], StreamingGuard]


class ChatRequest(PaidRequest):
    """One chat request while it is worked on."""

    def __init__(self, event: CacheMissed, lease: Lease, calls: Iterable[LlmCall] = ()) -> None:
        asked = event.envelope.request
        super().__init__(
            event.envelope,
            lease,
            input_tokens=count_input(event.messages, asked.tools or ()),
            calls=calls,
            stream=asked.stream,
            service_tier=tier_name((asked.params or {}).get("service_tier")),
        )
        self.event = event


class ChatCalls:
    """Makes chat calls; publishes what they bring on the way where the request wants it."""

    #: The next model is asked at once.
    waits_for_circuit = False

    def __init__(
        self,
        providers: Mapping[ProviderName, Provider],
        *,
        publisher: Publisher,
        guards: GuardFactory,
        clock: Clock,
        settings: LlmSettings,
    ) -> None:
        self._providers = providers
        self._publisher = publisher
        self._guards = guards
        self._clock = clock
        self._settings = settings
        self._pace = DeltaPace(
            interval_s=settings.delta_interval_s,
            max_interval_s=settings.delta_max_interval_s,
            records_per_s=settings.delta_records_per_s,
        )

    def new_call(
        self, request: ChatRequest, route: Route, *, call_id: str, timeouts: Timeouts
    ) -> ProviderCall:
        """Return the call to send to a model."""
        return provider_call(
            request.event,
            route,
            call_id=call_id,
            input_tokens=request.input_tokens,
            timeouts=timeouts,
            default_temperature=self._settings.default_temperature,
        )

    async def send(self, request: ChatRequest, progress: CallProgress[ProviderCall, Answer]) -> None:
        """Send the call, and let `progress` take what comes.

        Raises:
            ProviderFault: there is no answer, or not all of it.
        """
        if not publishes_deltas(request.envelope.request):
            await self._read(progress, None)
            return
        publication = _Publication(
            self._guards(request.event),
            DeltaStream(
                self._publisher,
                envelope=request.envelope,
                attempt=progress.number,
                pace=self._pace,
                max_chars=self._settings.delta_max_chars,
                sleep=self._clock.sleep,
            ),
        )
        try:
            await self._read(progress, publication)
            await publication.finish()
        except ProviderFault:
            if not publication.blocked:
                raise
        finally:
            await publication.deltas.abandon()
        if publication.blocked and progress.answer is None:
            # The guard has ended the answer here. What was spent so far is billed.
            answer = Answer(
                text=progress.text,
                model=progress.model,
                finish_reason="content_filter",
                usage=progress.spent(),
            )
            progress.take(answer, self._clock.monotonic())

    async def _read(
        self, progress: CallProgress[ProviderCall, Answer], publication: "_Publication | None"
    ) -> None:
        provider = self._providers[progress.route.model.provider]
        async with stoppable() as stop, aclosing(provider.answer(progress.call)) as events:
            async for event in events:
                progress.take(event, self._clock.monotonic())
                if publication is None or publication.blocked or not isinstance(event, TextDelta):
                    continue
                if not publication.take(event.text):
                    # What the provider has on its way is billed: read on for a moment, to book what it
                    # reports rather than an estimate.
                    stop.within(self._settings.read_on_s)


class _Publication:
    """The way of a streamed answer through its guard to its watcher."""

    def __init__(self, guard: StreamingGuard, deltas: DeltaStream) -> None:
        self._guard = guard
        self.deltas = deltas

    @property
    def blocked(self) -> bool:
        """Whether the guard has blocked the answer."""
        return self._guard.blocked_by is not None

    def take(self, text: str) -> bool:
        """Publish what is safe; False where the guard has blocked the answer."""
        self.deltas.feed(self._guard.feed(text))
        return not self.blocked

    async def finish(self) -> None:
        """Publish the rest."""
        if not self.blocked:
            rest, _ = self._guard.finish()
            self.deltas.feed(rest)
        await self.deltas.close()

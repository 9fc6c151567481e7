"""The LLM stage: claims the request in the journal, calls the models, and returns how that ended."""

from collections.abc import Mapping, Sequence

import msgspec

from agents.intake.outcomes import input_error_info
from agents.llm.chat_calls import ChatCalls, ChatRequest, GuardFactory
from agents.llm.conclusions import conclude, failed, too_long, unknown_model
from agents.llm.routing import route
from agents.llm.settings import LlmSettings
from agents.llm.stored_result import ChatOutcome, emit, pack, unpack
from agents.paid_calls.call_journal import CallJournal
from agents.paid_calls.call_loop import CallLoop
from agents.paid_calls.endings import OutOfTime
from agents.paid_calls.paid_work import PaidWork
from agents.paid_calls.ports import CallPorts
from agents.providers.provider import Provider
from agents.stage import Delivery
from streams import pipeline
from streams.events import CacheMissed
from streams.models import MODELS, ProviderName
from streams.publisher import Emit, Publisher
from streams.request_rules.chat import not_supported
from streams.request_rules.parameters import unsupported_parameter


class LlmStage:
    """Gets an answer from a model, once per request whatever happens to the worker."""

    spec = pipeline.LLM

    def __init__(
        self,
        *,
        providers: Mapping[ProviderName, Provider],
        publisher: Publisher,
        guards: GuardFactory,
        settings: LlmSettings,
        ports: CallPorts,
    ) -> None:
        self._providers = providers
        self._settings = settings
        self._clock = ports.clock
        journal = CallJournal(ports, stage=self.spec.name)
        self._work = PaidWork[ChatRequest, ChatOutcome](
            journal, stage=self.spec.name, instance=settings.instance, pack=pack, unpack=unpack
        )
        calls = ChatCalls(providers, publisher=publisher, guards=guards, clock=ports.clock, settings=settings)
        self.loop = CallLoop(calls, journal=journal, ports=ports, policy=settings, stage=self.spec.name)

    async def handle(self, delivery: Delivery[CacheMissed]) -> Sequence[Emit]:
        """Return the answer, the degraded answer, or the failure.

        Of a record that is delivered twice, the journal decides: the stored result is returned again, the
        request is continued, or nothing is returned because another record has it.

        Raises:
            StoreUnavailable: the journal does not answer, so no call may be made.
            Superseded: another attempt took over.
        """
        event = delivery.event
        self._work.open(delivery, event.envelope)
        outcome = await self._work.run(
            delivery,
            request=lambda lease, calls: ChatRequest(event, lease, calls),
            outcome=self._outcome,
        )
        return () if outcome is None else (emit(outcome),)

    async def delivered(self, delivery: Delivery[CacheMissed]) -> None:
        """Note that the broker has the result."""
        await self._work.delivered(delivery)

    async def salvage(self, delivery: Delivery[CacheMissed], fault: BaseException) -> CacheMissed:
        """Return the event of a delivery that came to nothing, with every call that was made for it.

        Args:
            delivery: the very one that `handle` was given; it raised, or what it returned cannot be sent.
            fault: why.
        """
        event = delivery.event
        envelope = await self._work.salvaged(delivery, event.envelope, fault)
        return msgspec.structs.replace(event, envelope=envelope)

    async def _outcome(self, request: ChatRequest) -> ChatOutcome:
        if request.remaining_s(self._clock.now()) <= 0:
            return conclude(request, OutOfTime())
        event, asked = request.event, request.envelope.request
        wanted = asked.model or event.default_model
        if wanted not in MODELS:
            return failed(request, unknown_model(wanted))
        if kept := unsupported_parameter(asked, MODELS[wanted].provider):
            return failed(request, input_error_info(not_supported(kept.param, kept.why, wanted)))
        routing = route(
            wanted=wanted,
            fallbacks=self._settings.fallback_models,
            providers=[each for each in self._providers if unsupported_parameter(asked, each) is None],
            input_tokens=request.input_tokens,
            max_output_tokens=event.max_output_tokens,
        )
        if routing.too_small and not routing.routes:
            return failed(request, too_long(request, routing))
        return conclude(request, await self.loop.run(request, routing.routes))

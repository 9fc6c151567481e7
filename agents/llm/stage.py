"""The LLM stage: claims the request in the journal, calls the models, and returns how that ended."""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from agents.intake.outcomes import input_error_info
from agents.llm.chat_calls import ChatCalls, ChatRequest, GuardFactory, LlmSettings
from agents.llm.outcomes import ChatOutcome, conclude, emit, pack, too_long, unknown_model, unpack
from agents.llm.routing import route
from agents.paid_calls.call_loop import CallLoop
from agents.paid_calls.paid_request import OutOfTime
from agents.paid_calls.paid_work import PaidWork
from agents.paid_calls.ports import CallPorts, StageLog
from agents.providers.provider import Provider
from agents.stage import Delivery
from streams import pipeline
from streams.events import CacheMissed, Status
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
        log = StageLog(self.spec.name)
        self._work = PaidWork[ChatRequest, ChatOutcome](
            ports, log=log, instance=settings.instance_id, pack=pack, unpack=unpack
        )
        calls = ChatCalls(providers, publisher=publisher, guards=guards, clock=ports.clock, settings=settings)
        self.loop = CallLoop(calls, journal=self._work.call_journal, ports=ports, policy=settings, log=log)

    async def handle(self, delivery: Delivery[CacheMissed]) -> Sequence[Emit]:
        """Return the answer, the degraded answer, or the failure.

        Of a record that is delivered twice, the journal decides: the stored result is returned again, the
        request is continued, or nothing is returned because another record has it. Raises what `PaidWork.run`
        does.
        """
        event = delivery.event
        self._work.open(delivery, event.envelope)
        outcome = await self._work.run(delivery, request=partial(ChatRequest, event), outcome=self._outcome)
        return () if outcome is None else (emit(outcome),)

    async def delivered(self, delivery: Delivery[CacheMissed]) -> None:
        """Note that the broker has the result."""
        await self._work.delivered(delivery)

    async def recover_calls(self, delivery: Delivery[CacheMissed], fault: BaseException) -> CacheMissed:
        """Return the event of a delivery that came to nothing, with every call that was made for it."""
        event = delivery.event
        envelope = await self._work.recover_calls(delivery, event.envelope, fault)
        return msgspec.structs.replace(event, envelope=envelope)

    async def _outcome(self, request: ChatRequest) -> ChatOutcome:
        if request.remaining_s(self._clock.now()) <= 0:
            return conclude(request, OutOfTime())
        event, asked = request.event, request.envelope.request
        wanted = asked.model or event.default_model
        if wanted not in MODELS:
            return request.outcome(Status.FAILED, error=unknown_model(wanted))
        if kept := unsupported_parameter(asked, MODELS[wanted].provider):
            error = input_error_info(not_supported(kept.param, kept.why, wanted))
            return request.outcome(Status.FAILED, error=error)
        routing = route(
            wanted=wanted,
            fallbacks=self._settings.fallback_models,
            providers=[each for each in self._providers if unsupported_parameter(asked, each) is None],
            input_tokens=request.input_tokens,
            max_output_tokens=event.max_output_tokens,
        )
        if routing.too_small and not routing.models:
            return request.outcome(Status.FAILED, error=too_long(request, routing))
        return conclude(request, await self.loop.run(request, routing.models))

"""The LLM stage: claims the request in the journal, calls the models, and sends how that ended."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import msgspec

from agents.checks.answer_guard import StreamingGuard, answer_context
from agents.checks.output_policy import OutputPolicy
from agents.intake.replies import input_error_info
from agents.llm.chat_calls import ChatCalls, ChatRequest, GuardFactory, LlmSettings, Routing, route
from agents.paid_calls.call_loop import CallLoop
from agents.paid_calls.paid_request import Answered, CallPorts, Ending, Exhausted, OutOfTime, StageLog
from agents.paid_calls.paid_work import PaidWork
from agents.providers.adapters import chat_clients
from agents.providers.clients import ProviderClients
from agents.providers.provider import Answer, Provider
from agents.stage import Delivery
from agents.stores.journal import Journal
from agents.worker_ports import WorkerPorts
from streams import pipeline
from streams.codec import decode, encode
from streams.events import (
    CacheMissed,
    Completed,
    Completion,
    ErrorInfo,
    Event,
    LlmCall,
    OutcomeReached,
    Status,
    Usage,
)
from streams.publisher import Emit, Publisher
from streams.request_rules.chat import not_supported, unknown_model
from streams.request_rules.parameters import unsupported_parameter
from streams.topics import OUTCOMES

#: The degraded answer, for requests that no model answers.
APOLOGY = "I apologize, but I am temporarily unable to process your request. Please try again in a moment."

ChatOutcome = Completed | OutcomeReached


class StoredResult(Event, frozen=True, kw_only=True):
    """One of the two events that the stage sends, as the journal stores it."""

    completed: Completed | None = None
    outcome: OutcomeReached | None = None


def pack(outcome: ChatOutcome) -> bytes:
    """Return the bytes that the journal stores."""
    if isinstance(outcome, Completed):
        return encode(StoredResult(completed=outcome))
    return encode(StoredResult(outcome=outcome))


def unpack(data: bytes) -> ChatOutcome:
    """Return the event in stored bytes."""
    stored = decode(data, StoredResult)
    outcome = stored.completed or stored.outcome
    if outcome is None:
        raise AssertionError("the journal stored an empty result")
    return outcome


def conclude(request: ChatRequest, ending: Ending[Answer]) -> ChatOutcome:
    """Return the outcome of a request that was worked on."""
    match ending:
        case Answered():
            return _completed(request, ending)
        case Exhausted():
            completion = _degraded(request)
            return request.outcome(Status.DEGRADED, completion=completion, error=completion.error)
        case _:
            return request.unanswered(ending)


def _completed(request: ChatRequest, ending: Answered[Answer]) -> Completed:
    answer = ending.answer
    return Completed(
        envelope=request.envelope_with_calls,
        messages=request.event.messages,
        completion=Completion(
            content=answer.text,
            model=ending.model.named(answer.model),
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            attempt=ending.attempt,
            provider=ending.model.provider,
            tool_calls=answer.tool_calls,
        ),
        # A repeat asks for the first model: a fallback's answer is not that model's.
        cache_slot=request.event.cache_slot if ending.model.name == request.event.default_model else None,
    )


def _degraded(request: ChatRequest) -> Completion:
    return Completion(
        content=APOLOGY,
        model="degraded",
        finish_reason="stop",
        usage=Usage(),
        attempt=request.last_number + 1,  # so that what the failed calls published is replaced
        degraded=True,
        error=ErrorInfo(type="api_error", code="all_models_failed", message=_what_failed(request.calls)),
    )


def _what_failed(calls: Sequence[LlmCall]) -> str:
    failed = dict.fromkeys(f"{call.request_model}: {call.error}" for call in calls if call.error)
    if not failed:
        return "no model can be asked at the moment; try again later"
    return f"no model answered ({'; '.join(failed)}); try again later"


def too_long(request: ChatRequest, routing: Routing) -> ErrorInfo:
    """Return the error for a prompt that no model takes."""
    largest = max(routing.too_small, key=lambda model: model.context_window_tokens)
    return ErrorInfo(
        type="invalid_request_error",
        code="context_length_exceeded",
        message=(
            f"the prompt has {request.input_tokens} tokens and {request.event.max_output_tokens} are "
            f"asked for the answer; {largest.name} takes {largest.context_window_tokens} in all: shorten the "
            "messages"
        ),
        param="messages",
    )


class LlmStage:
    """Gets an answer from a model, once per request whatever happens to the worker."""

    spec = pipeline.LLM

    def __init__(
        self,
        *,
        providers: ProviderClients[Provider],
        publisher: Publisher,
        guards: GuardFactory,
        settings: LlmSettings,
        ports: CallPorts,
    ) -> None:
        self._providers = providers
        self._settings = settings
        self._clock = ports.clock
        self._models = ports.models
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
        if outcome is None:
            return ()
        topic = self.spec.next if isinstance(outcome, Completed) else OUTCOMES
        return (Emit.to(topic, outcome, key=outcome.envelope.request_id),)

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
        catalogue = self._models.current
        model = catalogue.chat_model(wanted)
        if model is None:
            return request.outcome(Status.FAILED, error=input_error_info(unknown_model(wanted, catalogue)))
        if kept := unsupported_parameter(asked, model.protocol):
            error = input_error_info(not_supported(kept.param, kept.why, wanted))
            return request.outcome(Status.FAILED, error=error)
        routing = route(
            catalogue=catalogue,
            wanted=wanted,
            fallbacks=self._settings.fallback_models,
            providers=[
                name
                for name, protocol in catalogue.protocols.items()
                if name in self._providers and unsupported_parameter(asked, protocol) is None
            ],
            input_tokens=request.input_tokens,
            max_output_tokens=event.max_output_tokens,
        )
        if routing.too_small and not routing.models:
            return request.outcome(Status.FAILED, error=too_long(request, routing))
        return conclude(request, await self.loop.run(request, routing.models))


async def build(ports: WorkerPorts, resources: AsyncExitStack) -> LlmStage:
    """Return the stage, with a client for each configured provider."""
    settings = ports.settings
    providers = chat_clients(settings)
    resources.push_async_callback(providers.aclose)
    ports.control.subscribe(providers.follow)
    checked_by = OutputPolicy.from_settings(settings)

    def guard(event: CacheMissed) -> StreamingGuard:
        return answer_context(event.envelope, event.messages, ports.prompts).streaming_guard(checked_by)

    return LlmStage(
        providers=providers,
        publisher=ports.publisher,
        guards=guard,
        settings=LlmSettings.from_settings(settings),
        ports=CallPorts(journal=Journal(ports.redis, ttl_s=settings.registry_ttl_s), models=ports.models),
    )

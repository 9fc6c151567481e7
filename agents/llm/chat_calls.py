"""Chat calls: which models are asked, what they are sent, and a streamed answer's way through its guard."""

from collections.abc import Callable, Collection, Iterable
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import msgspec

from agents.checks.answer_guard import StreamingGuard
from agents.llm.deltas import DeltaPace, DeltaStream
from agents.paid_calls.call_booking import CallProgress
from agents.paid_calls.call_policy import CallPolicy
from agents.paid_calls.cancellation_watch import cancel_scope
from agents.paid_calls.paid_request import Clock, PaidRequest, pseudonym
from agents.providers.clients import ProviderClients
from agents.providers.faults import ProviderFault
from agents.providers.provider import Answer, Provider, ProviderCall, TextDelta, Timeouts
from agents.providers.usage import count_input, tier_name
from agents.stores.journal_entries import Lease
from streams.control.catalogue import ModelCatalogue
from streams.events import CacheMissed, ChatRequested, Envelope, LlmCall
from streams.model_catalogue import Model
from streams.publisher import Publisher

#: Makes the guard that checks the streamed answer to one request.
GuardFactory = Callable[[CacheMissed], StreamingGuard]
_JSON_FORMATS = frozenset({"json_object", "json_schema"})
_REASONING = ("reasoning_effort", "thinking")


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """The models to ask in turn, and those left out because the prompt does not fit."""

    models: tuple[Model, ...]
    too_small: tuple[Model, ...] = ()


def route(
    *,
    catalogue: ModelCatalogue,
    wanted: str,
    fallbacks: Iterable[str],
    providers: Collection[str],
    input_tokens: int,
    max_output_tokens: int,
) -> Routing:
    """Return the models to ask: the wanted one, then the fallbacks, each once.

    Left out are models that are not in the catalogue, models whose provider has no key, or cannot keep a
    parameter of the request, and models whose context window is too small for prompt and answer.

    `providers` are those there are keys for and that can keep the request's parameters.
    """
    named = (catalogue.chat_model(name) for name in (wanted, *fallbacks))
    known = {model.name: model for model in named if model is not None}.values()
    served = [model for model in known if model.provider in providers]
    fitting = [
        model
        for model in served
        if input_tokens + longest_output(model, max_output_tokens) <= model.context_window_tokens
    ]
    return Routing(models=tuple(fitting), too_small=tuple(model for model in served if model not in fitting))


def longest_output(model: Model, max_output_tokens: int) -> int:
    """Return the longest answer to ask a model for, in tokens."""
    return min(max_output_tokens, model.max_output_tokens)


class LlmSettings(CallPolicy, frozen=True, kw_only=True):
    """How the LLM stage behaves, beside how calls are made."""

    fallback_models: tuple[str, ...] = ()  # asked in order after the model that is wanted
    default_temperature: float = 0.7
    read_on_s: float = 1.0  # how long a stream is read on whose answer was blocked, in seconds


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


@dataclass(eq=False)
class ChatCalls:
    """Makes chat calls; publishes what they bring on the way where the request wants it."""

    #: The next model is asked at once.
    waits_for_circuit = False

    providers: ProviderClients[Provider]
    _: KW_ONLY
    publisher: Publisher
    guards: GuardFactory
    clock: Clock
    settings: LlmSettings
    _pace: DeltaPace = field(default_factory=DeltaPace, init=False)

    def new_call(
        self, request: ChatRequest, model: Model, *, call_id: str, timeouts: Timeouts
    ) -> ProviderCall:
        """Return the call to send to a model."""
        asked, event = request.envelope.request, request.event
        return ProviderCall(
            call_id=call_id,
            model=model.upstream_name,
            messages=event.messages,
            max_output_tokens=longest_output(model, event.max_output_tokens),
            timeouts=timeouts,
            stream=asked.stream,
            input_tokens=request.input_tokens,
            most_tokens=model.longest_input_tokens,
            temperature=_temperature(asked, self.settings.default_temperature),
            top_p=asked.top_p,
            stop=asked.stop or (),
            seed=asked.seed,
            response_format=asked.response_format,
            tools=asked.tools or (),
            tool_choice=asked.tool_choice,
            user=pseudonym(request.envelope, request.envelope.user_id),
            params=_params(request.envelope),
            metadata=asked.metadata,
        )

    async def send(self, request: ChatRequest, progress: CallProgress[ProviderCall, Answer]) -> None:
        """Send the call, and let `progress` take what comes."""
        guard = self.guards(request.event) if _publishes_deltas(request.envelope.request) else None
        deltas = DeltaStream(
            self.publisher,
            envelope=request.envelope,
            attempt=progress.number,
            pace=self._pace,
            sleep=self.clock.sleep,
        )
        try:
            await self._read(progress, guard, deltas)
            if guard is not None and not _blocks(guard):
                deltas.feed(guard.finish()[0])
            await deltas.close()
        except ProviderFault:
            if not _blocks(guard):
                raise
        finally:
            await deltas.abandon()
        if _blocks(guard) and progress.answer is None:
            # The guard has ended the answer here. What was spent so far is billed.
            answer = Answer(
                text=progress.text,
                model=progress.response_model,
                finish_reason="content_filter",
                usage=progress.spent(),
            )
            progress.take(answer, self.clock.monotonic())

    async def _read(
        self, progress: CallProgress[ProviderCall, Answer], guard: StreamingGuard | None, deltas: DeltaStream
    ) -> None:
        async with (
            self.providers.using(progress.model.provider) as provider,
            cancel_scope() as cancel_within,
            aclosing(provider.answer(progress.call)) as events,
        ):
            async for event in events:
                progress.take(event, self.clock.monotonic())
                if guard is None or _blocks(guard) or not isinstance(event, TextDelta):
                    continue
                deltas.feed(guard.feed(event.text))
                if _blocks(guard):
                    # What the provider has on its way is billed: read on for a moment, to book what it
                    # reports rather than an estimate.
                    cancel_within(self.settings.read_on_s)


def _blocks(guard: StreamingGuard | None) -> bool:
    return guard is not None and guard.blocked_by is not None


def _params(envelope: Envelope) -> dict[str, Any]:
    params = envelope.request.params or {}
    if "safety_identifier" not in params:
        return params
    return {**params, "safety_identifier": pseudonym(envelope, params["safety_identifier"])}


def _temperature(request: ChatRequested, default: float) -> float | None:
    """Return the temperature; None leaves it to the provider.

    It is left to the provider where the sender chose `top_p` instead, or how the model reasons: reasoning
    models take no temperature but 1.
    """
    chosen = request.temperature is not None or request.top_p is not None
    if chosen or any(name in (request.params or {}) for name in _REASONING):
        return request.temperature
    return default


def _publishes_deltas(request: ChatRequested) -> bool:
    """Tell whether the answer is published while it is written.

    Structured answers and answers with tools are checked whole first.
    """
    structured = (request.response_format or {}).get("type") in _JSON_FORMATS
    return request.stream and not structured and not request.tools

"""The LLM stage: claims the request, asks the models, and says what came of it."""

import random
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from agents.llm.attempts import Answered, Attempts, Ending, Exhausted, OutOfTime, RequestRefused, Work
from agents.llm.booking import orphaned
from agents.llm.calling import Caller
from agents.llm.circuits import Circuits
from agents.llm.degraded import degraded_completion
from agents.llm.patience import patiently
from agents.llm.policy import LlmPolicy
from agents.llm.ports import CallJournal, Clock, DeltaSink, GuardFactory, SystemClock
from agents.llm.result import Outcome, emit, pack, unpack
from agents.llm.routing import Routing, route
from agents.providers.port import Provider
from agents.providers.usage import count_input
from agents.stage import Delivery
from agents.stores.journal import AlreadySent, Claimed, Fenced, Finished, HeldElsewhere, Hold
from streams.errors import StoreUnavailable
from streams.events import (
    CacheMissed,
    Completed,
    Completion,
    Envelope,
    ErrorInfo,
    OutcomeReached,
    Status,
)
from streams.models import MODELS, ProviderName
from streams.publisher import Emit
from streams.topics import MISSES

_MAX_UNSENT = 10_000

log = structlog.get_logger(__name__)


class LlmStage:
    """Gets an answer from a model, once per request whatever happens to the worker.

    Args:
        providers: the providers there are keys for.
        journal: where requests are claimed and calls noted.
        deltas: where pieces of streamed answers are published.
        guards: makes the guard that checks a streamed answer before it is published.
        policy: the settings.
        clock: the time.
        new_call_id: mints ids of provider calls.
        jitter: returns random numbers from 0 to 1.
    """

    name = "llm"
    source = MISSES

    def __init__(
        self,
        *,
        providers: Mapping[ProviderName, Provider],
        journal: CallJournal,
        deltas: DeltaSink,
        guards: GuardFactory,
        policy: LlmPolicy,
        clock: Clock | None = None,
        new_call_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._providers = providers
        self._journal = journal
        self._policy = policy
        self._clock = clock or SystemClock()
        caller = Caller(journal=journal, deltas=deltas, guards=guards, clock=self._clock, policy=policy)
        self._attempts = Attempts(
            providers=providers,
            caller=caller,
            circuits=Circuits(threshold=policy.breaker_threshold, reset_s=policy.breaker_reset_s),
            journal=journal,
            clock=self._clock,
            new_call_id=new_call_id,
            random=jitter,
            policy=policy,
        )
        # The deliveries whose result is on its way to the broker, by identity. Only `delivered` for the very
        # delivery that returned the result may close its entry: a zombie's, of the same record, may not.
        self._unsent: OrderedDict[int, tuple[Delivery[CacheMissed], Hold]] = OrderedDict()

    async def handle(self, delivery: Delivery[CacheMissed]) -> Sequence[Emit]:
        """Return the answer, the degraded answer, or the failure; nothing for a repeat.

        Raises:
            StoreUnavailable: the journal does not answer, so no call may be made.
        """
        envelope = delivery.event.envelope
        claim = await self._journal.claim(
            envelope.request_id,
            record=delivery.record.address,
            instance=self._policy.instance,
            deadline_at=envelope.deadline_at,
            now=self._clock.now(),
        )
        match claim:
            case HeldElsewhere() | AlreadySent():
                log.info("llm.repeat_dropped", request_id=envelope.request_id, why=type(claim).__name__)
                return ()
            case Finished(hold=hold, result=result):
                return self._to_send(delivery, hold, unpack(result))
            case Claimed():
                return await self._work(delivery, claim)

    async def delivered(self, delivery: Delivery[CacheMissed]) -> None:
        """Note that the broker has the result. Where Redis is away, a repeat would be sent again: no harm."""
        _, hold = self._unsent.pop(id(delivery), (None, None))
        if hold is None:
            return
        try:
            await self._journal.sent(hold)
        except StoreUnavailable as fault:
            log.warning("llm.journal_not_closed", request_id=hold.request_id, reason=str(fault))

    async def _work(self, delivery: Delivery[CacheMissed], claimed: Claimed) -> Sequence[Emit]:
        event = delivery.event
        work = Work(
            event,
            claimed.hold,
            input_tokens=count_input(event.messages, event.envelope.request.tools or ()),
            calls=[*claimed.known_calls, *(orphaned(lost) for lost in claimed.lost_calls)],
        )
        if claimed.lost_calls:
            log.warning(
                "llm.calls_orphaned", request_id=claimed.hold.request_id, calls=len(claimed.lost_calls)
            )
        try:
            outcome = await self._outcome(work)
            await self._store(work, pack(outcome))
        except Fenced as fenced:
            log.warning("llm.fenced", request_id=claimed.hold.request_id, reason=str(fenced))
            return ()
        return self._to_send(delivery, claimed.hold, outcome)

    async def _outcome(self, work: Work) -> Outcome:
        if work.remaining_s(self._clock.now()) <= 0:
            return _conclude(work, OutOfTime())
        wanted = work.event.envelope.request.model or work.event.default_model
        if wanted not in MODELS:
            return _failed(work, _unknown_model(wanted))
        routing = route(
            wanted=wanted,
            fallbacks=self._policy.fallback_models,
            providers=self._providers.keys(),
            input_tokens=work.input_tokens,
            max_output_tokens=work.event.max_output_tokens,
        )
        if routing.too_small and not routing.routes:
            return _failed(work, _too_long(work, routing))
        return _conclude(work, await self._attempts.run(work, routing.routes))

    async def _store(self, work: Work, result: bytes) -> None:
        """Store the result; it was paid for, so Redis is given until the deadline to come back.

        If it does not, the result is sent all the same: an answer that is sent twice is recognised further
        down, whereas the spend of one that is thrown away would be in no book.

        Raises:
            Fenced: another attempt took over.
        """
        try:
            stored = await patiently(
                lambda: self._journal.finish(work.hold, result),
                remaining_s=lambda: work.remaining_s(self._clock.now()),
                clock=self._clock,
                request_id=work.hold.request_id,
            )
        except StoreUnavailable as fault:
            log.error("llm.result_not_stored", request_id=work.hold.request_id, reason=str(fault))  # noqa: TRY400  # the stack says nothing more
            return
        if not stored:
            raise Fenced(work.hold)

    def _to_send(self, delivery: Delivery[CacheMissed], hold: Hold, outcome: Outcome) -> Sequence[Emit]:
        self._unsent[id(delivery)] = delivery, hold
        while len(self._unsent) > _MAX_UNSENT:
            self._unsent.popitem(last=False)
        return (emit(outcome),)


def _conclude(work: Work, ending: Ending) -> Outcome:
    match ending:
        case Answered():
            return _completed(work, ending)
        case RequestRefused(fault):
            error = ErrorInfo(
                type="invalid_request_error", code=fault.code, message=fault.message, param=fault.param
            )
            return _failed(work, error)
        case OutOfTime():
            return _failed(work, _too_late(work))
        case Exhausted():
            completion = degraded_completion(work.calls, attempt=work.last_number + 1)
            return OutcomeReached(
                envelope=_envelope(work),
                status=Status.DEGRADED,
                completion=completion,
                error=completion.error,
            )


def _completed(work: Work, ending: Answered) -> Completed:
    answer = ending.answer
    return Completed(
        envelope=_envelope(work),
        messages=work.event.messages,
        completion=Completion(
            content=answer.text,
            model=answer.model,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            attempt=ending.attempt,
            provider=ending.provider,
            tool_calls=answer.tool_calls,
        ),
        cache_slot=work.event.cache_slot,
    )


def _failed(work: Work, error: ErrorInfo) -> OutcomeReached:
    return OutcomeReached(envelope=_envelope(work), status=Status.FAILED, error=error)


def _envelope(work: Work) -> Envelope:
    envelope = work.event.envelope
    return msgspec.structs.replace(envelope, calls=(*envelope.calls, *work.calls))


def _too_late(work: Work) -> ErrorInfo:
    when = "before a model answered" if work.calls else "before a model could be asked"
    return ErrorInfo(
        type="timeout_error",
        code="deadline_exceeded",
        message=f"the request's deadline passed {when}; send it again with a longer deadline_ms",
        param="deadline_ms",
    )


def _unknown_model(name: str) -> ErrorInfo:
    known = ", ".join(sorted(MODELS))
    return ErrorInfo(
        type="invalid_request_error",
        code="model_not_found",
        message=f"unknown model {name!r}; known models: {known}",
        param="model",
    )


def _too_long(work: Work, routing: Routing) -> ErrorInfo:
    largest = max(routing.too_small, key=lambda model: model.context_window_tokens)
    return ErrorInfo(
        type="invalid_request_error",
        code="context_length_exceeded",
        message=(
            f"the prompt has {work.input_tokens} tokens and {work.event.max_output_tokens} are asked for the "
            f"answer; {largest.name} takes {largest.context_window_tokens} in all: shorten the messages"
        ),
        param="messages",
    )

"""When a model is called: timeouts, the retry schedule of failed calls, and the circuit breakers.

After a failure a stage waits and tries again, asks the next model, or gives up. How often a model is tried is
the setting HEADRACE_PROVIDER_TRIES. `agents.runner.record_retry` is about something else: records that a
stage cannot process because Redis or Kafka is away.
"""

import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Self

import msgspec
import structlog
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import HALF_OPENED, OPENED, Context, OpenedState

from agents.providers.faults import (
    AuthenticationFault,
    ContextTooLong,
    ModelUnavailable,
    ProviderFault,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    Refused,
    UnusableAnswer,
)
from agents.providers.provider import Timeouts
from streams.settings import Settings

log = structlog.get_logger(__name__)

#: The part of the time left that is kept for the reply to reach its sender, in seconds: one more stage and
#: ingest take about 0.1 s each on a busy machine. Of a short deadline it is a share, or no model could be
#: asked.
_RESERVE_S = 1.0
_RESERVE_SHARE = 0.2
#: A timeout trips the circuit breaker only after this share of the configured timeout. It is not the whole
#: timeout: the default deadline is twice the timeout, and the earlier stages use part of it, so that no hang
#: would ever count.
_TRIPPING_SHARE = 0.5
#: No limit is less, in seconds: a client may take 0 for none.
_LEAST_S = 0.01
#: The waits between two tries of a model, in seconds: 1, 2, 4, … up to the limit; see `wait_before_retry_s`.
FIRST_WAIT_S, MAX_WAIT_S = 1.0, 10.0
# Faults that only a healthy provider answers with.
_ALIVE = (RateLimited, Refused)


class CallPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are made. Times are in seconds."""

    instance_id: str = "worker-0"  # the worker's name, for operators to read in the journal
    provider_tries: int = 3  # how often one model is asked for a request
    provider_connect_timeout_s: float = 5.0
    #: The longest silence: until the first token, between two tokens, and until an answer that comes whole.
    #: A request's deadline may allow less: see `timeouts`.
    provider_timeout_s: float = 30.0
    provider_total_timeout_s: float = 600.0  # of a streamed answer, however steadily it comes
    breaker_threshold: int = 5  # faults in a row that open a model's circuit
    breaker_reset_s: float = 15.0  # how long it stays open

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the policy that the installation's settings ask for: they have the same names."""
        return cls(
            **{name: getattr(settings, name) for name in cls.__struct_fields__ if hasattr(settings, name)}
        )

    def reserve_s(self, remaining_s: float) -> float:
        """Return how much of a request's time is not for models, when so much is left at its beginning."""
        return min(_RESERVE_S, _RESERVE_SHARE * remaining_s)

    def timeouts(self, *, remaining_s: float, reserve_s: float, stream: bool, has_next: bool) -> Timeouts:
        """Return the timeouts of a call that must end within `remaining_s`; `reserve_s` is for the reply.

        A model that others could stand in for may be silent for half of the time left, so that a model that
        hangs leaves time for them; the last one for all of it. A stream that goes on may take it whole.
        """
        share_s = max(remaining_s - reserve_s, _LEAST_S) / (2 if has_next else 1)
        silence_s = min(self.provider_timeout_s, share_s)
        return Timeouts(
            connect_s=min(self.provider_connect_timeout_s, silence_s),
            first_token_s=silence_s,
            between_tokens_s=silence_s,
            total_s=min(self.provider_total_timeout_s, max(remaining_s, silence_s)) if stream else silence_s,
        )

    def cut_short(self, fault: ProviderFault, timeouts: Timeouts, *, begun: bool) -> bool:
        """Return whether the sender's deadline was short, rather than the provider slow."""
        if not isinstance(fault, ProviderTimeout):
            return False
        full_s = (
            self.provider_total_timeout_s if fault.phase == "total" and begun else self.provider_timeout_s
        )
        if fault.phase == "connect":
            full_s = self.provider_connect_timeout_s
        return timeouts.of(fault.phase) < _TRIPPING_SHARE * full_s


class CallRetryAction(StrEnum):
    """What comes next."""

    WAIT = "wait"
    NEXT_MODEL = "next_model"
    NEXT_PROVIDER = "next_provider"
    GIVE_UP = "give_up"


class CallRetryDecision(msgspec.Struct, frozen=True, kw_only=True):
    """An action, and how long to wait before the next try where it is to wait."""

    action: CallRetryAction
    wait_s: float = 0.0


def decide_call_retry(
    fault: ProviderFault, *, try_number: int, tries: int, remaining_s: float, has_next: bool, jitter: float
) -> CallRetryDecision:
    """Decide what comes after `fault`.

    A model is tried at most `tries` times; each model has its turn once, so that retries never multiply.
    The next model follows at once after a timeout, because a second silence would use up the deadline; and
    after an answer that would be paid for again and come out the same (`UnusableAnswer`).

    `try_number` counts from 1. `remaining_s` is the time until the deadline; `has_next` tells whether another
    model could be asked; `jitter`, from 0 to 1, keeps clients from coming back all at once.
    """
    if isinstance(fault, Refused):
        elsewhere = isinstance(fault, ContextTooLong | ModelUnavailable)
        return CallRetryDecision(action=CallRetryAction.NEXT_MODEL if elsewhere else CallRetryAction.GIVE_UP)
    if isinstance(fault, AuthenticationFault | QuotaExhausted):
        return CallRetryDecision(action=CallRetryAction.NEXT_PROVIDER)
    if (
        isinstance(fault, UnusableAnswer)
        or try_number >= tries
        or (isinstance(fault, ProviderTimeout) and has_next)
    ):
        return CallRetryDecision(action=CallRetryAction.NEXT_MODEL)
    wait_s = wait_before_retry_s(fault, try_number=try_number, jitter=jitter)
    if wait_s >= remaining_s or (has_next and wait_s > MAX_WAIT_S):
        return CallRetryDecision(action=CallRetryAction.NEXT_MODEL)
    return CallRetryDecision(action=CallRetryAction.WAIT, wait_s=wait_s)


def wait_before_retry_s(fault: ProviderFault, *, try_number: int, jitter: float) -> float:
    """Return `min(2^n + jitter, 10)` seconds, n counting from 0; or what the provider asks for.

    Up to a quarter, and at most a second, is added to `Retry-After`: every client was told the same time.
    """
    if fault.retry_after_s is not None:
        return fault.retry_after_s + jitter * min(1.0, fault.retry_after_s / 4)
    return min(FIRST_WAIT_S * 2.0 ** (try_number - 1) + jitter, MAX_WAIT_S)


class CallPermit:
    """Leave to call a model. It ends with `settle` or, where nothing was learnt, with `release`."""

    def __init__(self, context: Context, probing: set[str]) -> None:
        self._context = context
        self._probing = probing

    def settle(self, fault: ProviderFault | None) -> None:
        """Record the outcome of the call: None is a success."""
        before = self._context.state
        if fault is None or isinstance(fault, _ALIVE):
            self._context.handle_end_request()
        else:
            self._context.handle_exception(fault)
        self.release()
        if self._context.state != before:
            log.warning("llm.circuit_changed", circuit=self._context.name, state=self._context.state)

    def release(self) -> None:
        """Release without recording an outcome: the next call may be the probe."""
        self._probing.discard(self._context.name)
        self._context.messages.clear()  # they are for repositories outside the process


class CircuitBreakers:
    """The circuit breakers of one stage, by model.

    A circuit opens after `threshold` faults in a row, and stays open for `reset_s` seconds. Then one call at
    a time is a probe: success closes the circuit, failure opens it again.
    """

    def __init__(self, *, threshold: int, reset_s: float) -> None:
        self._factory = AsyncCircuitBreakerFactory(default_threshold=threshold, default_ttl=reset_s)
        self._probing: set[str] = set()

    async def permit(self, name: str) -> CallPermit | None:
        """Return leave to call, or None while the circuit is open."""
        context = (await self._factory.get_breaker(name)).context
        try:
            context.handle_new_request()
        except OpenedState as opened:
            opened.__traceback__ = None  # one exception object for every caller: it would grow
            return None
        if context.state == HALF_OPENED:
            if name in self._probing:
                return None
            self._probing.add(name)
        return CallPermit(context, self._probing)

    async def may_permit_any(self, names: Iterable[str]) -> bool:
        """Tell whether `permit` would give leave for one of these now. Changes nothing."""
        contexts = [(await self._factory.get_breaker(name)).context for name in names]
        return any(self._may_permit(context) for context in contexts)

    def _may_permit(self, context: Context) -> bool:
        if context.state == OPENED:
            return time.time() > (context.opened_at or 0.0) + context.ttl  # the library's own clock and rule
        return context.state != HALF_OPENED or context.name not in self._probing

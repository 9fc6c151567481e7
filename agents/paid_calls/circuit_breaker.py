"""A circuit breaker for each model of each provider: a model that fails again and again gets a rest."""

import time
from collections.abc import Iterable

import structlog
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import HALF_OPENED, OPENED, Context, OpenedState

from agents.providers.faults import ProviderFault, RateLimited, Refused

# Faults that only a healthy provider answers with.
_ALIVE = (RateLimited, Refused)

log = structlog.get_logger(__name__)


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

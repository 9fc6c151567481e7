"""The settings of paid calls: tries, timeouts and the circuit breaker's limits."""

from typing import Self

import msgspec

from agents.providers.faults import ProviderFault, ProviderTimeout
from agents.providers.provider import Timeouts
from streams.settings import Settings

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


class CallPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are made. Times are in seconds.

    Attributes:
        instance_id: the worker's name, for operators to read in the journal.
        provider_tries: how often one model is asked for a request.
        provider_connect_timeout_s: the longest time to connect.
        provider_timeout_s: the longest silence: until the first token, between two tokens, and until an
            answer that comes whole. A request's deadline may allow less: see `timeouts`.
        provider_total_timeout_s: the longest a streamed answer may take, however steadily it comes.
        breaker_threshold: faults in a row that open a model's circuit.
        breaker_reset_s: how long it stays open.
    """

    instance_id: str = "worker-0"
    provider_tries: int = 3
    provider_connect_timeout_s: float = 5.0
    provider_timeout_s: float = 30.0
    provider_total_timeout_s: float = 600.0
    breaker_threshold: int = 5
    breaker_reset_s: float = 15.0

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
        """Return the timeouts of a call that must end within `remaining_s`.

        A model that others could stand in for may be silent for half of the time left, so that a model that
        hangs leaves time for them; the last one for all of it. A stream that goes on may take it whole.

        Args:
            remaining_s: the time until the request's deadline.
            reserve_s: the part of it that is kept for the reply.
            stream: whether the answer comes in pieces.
            has_next: whether another model could be asked afterwards.
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

"""Decides what happens to each call: its fault, its timing and its words."""

from random import Random

import msgspec

from headrace.simulator.behaviour import AnswerRule, Behaviour, FaultRule, RawAnswer, TokenTiming
from streams.models import ProviderName

# OpenAI caches inputs from this length on, in steps of this size.
_CACHED_FROM_TOKENS = 1024
_CACHE_STEP_TOKENS = 128


class Director:
    """Holds the behaviour in force and the random sequence that its rates and times are drawn from.

    The sequence starts anew from the seed at each change of behaviour, so that the same behaviour and the
    same order of calls give the same faults.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.direct(Behaviour())

    def direct(self, behaviour: Behaviour) -> None:
        """Put a behaviour in force from the next call on."""
        self._random = Random(self._seed)
        self._behaviour = behaviour

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour in force; `next_calls` of its rules is what remains of them."""
        return self._behaviour

    def fault(self, provider: ProviderName, model: str, prompt: str) -> FaultRule | None:
        """Return the first fault that strikes a call; it uses up one of its `next_calls`."""
        for rule in self._behaviour.faults:
            if rule.next_calls != 0 and rule.covers(provider, model, prompt):
                if rule.rate is not None and self._random.random() >= rule.rate:
                    continue
                self._use_up("faults", rule)
                return rule
        return None

    def raw_answer(self, provider: ProviderName, model: str, prompt: str) -> RawAnswer | None:
        """Return the first raw answer for a call; it uses up one of its `next_calls`."""
        for rule in self._behaviour.raw_answers:
            if rule.next_calls != 0 and rule.covers(provider, model, prompt):
                self._use_up("raw_answers", rule)
                return rule
        return None

    def _use_up(self, field: str, used: FaultRule | RawAnswer) -> None:
        if used.next_calls is not None:
            fewer = msgspec.structs.replace(used, next_calls=used.next_calls - 1)
            rules = [fewer if rule is used else rule for rule in getattr(self._behaviour, field)]
            self._behaviour = msgspec.structs.replace(self._behaviour, **{field: rules})

    def timing(self, fault: FaultRule | None) -> TokenTiming:
        """Draw the timing of a call."""
        own = fault.latency if fault is not None else None
        return (own or self._behaviour.latency).draw(self._random)

    def answer(self, provider: ProviderName, model: str, prompt: str) -> AnswerRule | None:
        """Return the first rule that gives a call its words."""
        return next((rule for rule in self._behaviour.answers if rule.covers(provider, model, prompt)), None)

    def cached_tokens(self, input_tokens: int) -> int:
        """Return how much of an input counts as cached."""
        if input_tokens < _CACHED_FROM_TOKENS:
            return 0
        cached = int(input_tokens * self._behaviour.cached_input_share)
        return cached // _CACHE_STEP_TOKENS * _CACHE_STEP_TOKENS

"""Decides what happens to each call: its fault, its pace, its words and whether it is within limits."""

from random import Random

import msgspec

from headrace.simulator.allowance import Allowance, Standing
from headrace.simulator.behaviour import AnswerRule, Behaviour, FaultRule, RawAnswer
from headrace.simulator.pacing import Pace, draw
from streams.models import ProviderName

_MAX_ALLOWANCES = 1_000


class Director:
    """Holds the behaviour in force and the random sequence that its rates and times are drawn from.

    The sequence starts anew from the seed at each change of behaviour, so that the same behaviour and the
    same order of calls give the same faults.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._allowances: dict[str, Allowance] = {}
        self.direct(Behaviour())

    def direct(self, behaviour: Behaviour) -> None:
        """Put a behaviour in force from the next call on."""
        self._random = Random(self._seed)
        self._allowances.clear()
        self._behaviour = behaviour

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour in force; `next_calls` of its faults is what remains of them."""
        return self._behaviour

    def admit(self, model: str, tokens: int, now_s: float) -> Standing:
        """Count a call against the limits of its model."""
        if len(self._allowances) >= _MAX_ALLOWANCES:
            self._allowances.clear()
        if model not in self._allowances:
            self._allowances[model] = Allowance(self._behaviour.rate_limits, now_s)
        return self._allowances[model].take(tokens, now_s)

    def fault(self, provider: ProviderName, model: str, prompt: str) -> FaultRule | None:
        """Return the first fault that strikes a call; one of `next_calls` is used up by it."""
        for index, rule in enumerate(self._behaviour.faults):
            if rule.covers(provider, model, prompt) and self._strikes(index, rule):
                return rule
        return None

    def _strikes(self, index: int, rule: FaultRule) -> bool:
        if rule.next_calls is None:
            return self._random.random() < (rule.rate or 0.0)
        if rule.next_calls == 0:
            return False
        faults = list(self._behaviour.faults)
        faults[index] = msgspec.structs.replace(rule, next_calls=rule.next_calls - 1)
        self._behaviour = msgspec.structs.replace(self._behaviour, faults=faults)
        return True

    def raw_answer(self, provider: ProviderName, model: str, prompt: str) -> RawAnswer | None:
        """Return the first raw answer for a call; one of `next_calls` is used up by it."""
        for index, rule in enumerate(self._behaviour.raw_answers):
            if rule.next_calls == 0 or not rule.covers(provider, model, prompt):
                continue
            if rule.next_calls is not None:
                rules = list(self._behaviour.raw_answers)
                rules[index] = msgspec.structs.replace(rule, next_calls=rule.next_calls - 1)
                self._behaviour = msgspec.structs.replace(self._behaviour, raw_answers=rules)
            return rule
        return None

    def pace(self, fault: FaultRule | None) -> Pace:
        """Draw the timing of a call."""
        own = fault.latency if fault is not None else None
        return draw(own or self._behaviour.latency, self._random)

    def answer(self, provider: ProviderName, model: str, prompt: str) -> AnswerRule | None:
        """Return the first rule that gives a call its words."""
        for rule in self._behaviour.answers:
            if rule.speaks_to(provider, model, prompt):
                return rule
        return None

    def cached_tokens(self, input_tokens: int) -> int:
        """Return how much of an input counts as cached: OpenAI caches from 1,024 tokens in steps of 128."""
        if input_tokens < 1024:
            return 0
        return int(input_tokens * self._behaviour.cached_input_share) // 128 * 128

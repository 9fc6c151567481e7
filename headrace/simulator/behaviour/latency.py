"""How long a call takes to its first token and between tokens."""

import math
from random import Random

import msgspec

from headrace.simulator.behaviour.rules import Latency, LogNormal, Uniform

_MS_PER_S = 1000.0


class TokenTiming(msgspec.Struct, frozen=True, kw_only=True):
    """The timing of one call: seconds to the first token and seconds a token (0 is instant)."""

    first_token_s: float = 0.0
    token_s: float = 0.0

    @property
    def instant(self) -> bool:
        """Whether the call waits for nothing."""
        return self.first_token_s == 0.0 and self.token_s == 0.0

    def due_s(self, tokens: int) -> float:
        """Return when `tokens` tokens are generated, in seconds from the start of the call."""
        return self.first_token_s + max(0, tokens - 1) * self.token_s

    def generated(self, elapsed_s: float, total: int) -> int:
        """Return how many of `total` tokens are generated after `elapsed_s`."""
        if elapsed_s < self.first_token_s:
            return 0
        if self.token_s == 0.0:
            return total
        return min(total, 1 + int((elapsed_s - self.first_token_s) / self.token_s))


def draw(latency: Latency, random: Random) -> TokenTiming:
    """Draw the timing of one call."""
    rate = latency.tokens_per_second
    return TokenTiming(
        first_token_s=_first_token_ms(latency, random) / _MS_PER_S,
        token_s=0.0 if rate is None else 1.0 / rate,
    )


def _first_token_ms(latency: Latency, random: Random) -> float:
    match latency.first_token_ms:
        case Uniform(min_ms=low, max_ms=high):
            return random.uniform(low, high)
        case LogNormal(median_ms=median, sigma=sigma):
            return median * math.exp(random.gauss(0.0, sigma))
        case fixed:
            return float(fixed)

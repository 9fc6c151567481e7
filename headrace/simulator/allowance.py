"""Requests and tokens a minute: what the rate limit headers say and when a call must wait."""

import msgspec

from headrace.simulator.behaviour import RateLimits

# What the headers show where no limit is set: of the order of a high usage tier.
_SHOWN_REQUESTS_PER_MINUTE = 30_000
_SHOWN_TOKENS_PER_MINUTE = 150_000_000
_MINUTE_S = 60.0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is left after a call; `wait_s` is set where the call is refused and says for how long."""

    limit_requests: int
    remaining_requests: int
    reset_requests_s: float
    limit_tokens: int
    remaining_tokens: int
    reset_tokens_s: float
    wait_s: float | None = None
    scarce: str = "requests"


class _Bucket:
    """A token bucket that refills evenly and holds one minute's worth."""

    def __init__(self, per_minute: int, now_s: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at_s = now_s

    def refill(self, now_s: float) -> None:
        self._level = min(
            float(self.per_minute), self._level + (now_s - self._at_s) * self.per_minute / _MINUTE_S
        )
        self._at_s = now_s

    def wait_s(self, amount: int) -> float:
        # More than a minute's worth would never fit: it passes when the bucket is full.
        missing = min(amount, self.per_minute) - self._level
        return max(0.0, missing * _MINUTE_S / self.per_minute)

    def take(self, amount: int) -> None:
        self._level = max(0.0, self._level - amount)

    @property
    def remaining(self) -> int:
        return int(self._level)

    @property
    def reset_s(self) -> float:
        return (self.per_minute - self._level) * _MINUTE_S / self.per_minute


class Allowance:
    """The allowance of one model, counted from the calls it admits."""

    def __init__(self, limits: RateLimits, now_s: float) -> None:
        self._limits = limits
        self._requests = _Bucket(limits.requests_per_minute or _SHOWN_REQUESTS_PER_MINUTE, now_s)
        self._tokens = _Bucket(limits.tokens_per_minute or _SHOWN_TOKENS_PER_MINUTE, now_s)

    def take(self, tokens: int, now_s: float) -> Standing:
        """Admit a call of `tokens` input tokens, or say how long it must wait."""
        self._requests.refill(now_s)
        self._tokens.refill(now_s)
        wait_requests = self._requests.wait_s(1) if self._limits.requests_per_minute else 0.0
        wait_tokens = self._tokens.wait_s(tokens) if self._limits.tokens_per_minute else 0.0
        wait_s = max(wait_requests, wait_tokens)
        if wait_s == 0.0:
            self._requests.take(1)
            self._tokens.take(tokens)
        return Standing(
            limit_requests=self._requests.per_minute,
            remaining_requests=self._requests.remaining,
            reset_requests_s=self._requests.reset_s,
            limit_tokens=self._tokens.per_minute,
            remaining_tokens=self._tokens.remaining,
            reset_tokens_s=self._tokens.reset_s,
            wait_s=wait_s or None,
            scarce="tokens" if wait_tokens > wait_requests else "requests",
        )

"""Requests and tokens a minute: when a call must wait."""

from typing import Final

from headrace.simulator.behaviour.rules import RateLimits

_MINUTE_S: Final = 60.0


class _TokenBucket:
    """A bucket that refills evenly and holds one minute's worth."""

    def __init__(self, per_minute: int, now_s: float) -> None:
        self._per_minute = per_minute
        self._level = float(per_minute)
        self._at_s = now_s

    def wait_s(self, amount: int, now_s: float) -> float:
        refilled = (now_s - self._at_s) * self._per_minute / _MINUTE_S
        self._level = min(float(self._per_minute), self._level + refilled)
        self._at_s = now_s
        # More than a minute's worth would never fit: it passes when the bucket is full.
        missing = min(amount, self._per_minute) - self._level
        return max(0.0, missing * _MINUTE_S / self._per_minute)

    def take(self, amount: int) -> None:
        self._level = max(0.0, self._level - amount)


class ModelRateLimit:
    """The limits of one model, counted from the calls that it admits."""

    def __init__(self, limits: RateLimits, now_s: float) -> None:
        per_minute = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        self._buckets = {name: _TokenBucket(limit, now_s) for name, limit in per_minute.items() if limit}

    def admit(self, tokens: int, now_s: float) -> tuple[float, str]:
        """Admit a call, or say how long it must wait.

        Args:
            tokens: Input tokens of the call.
            now_s: The time, in seconds.

        Returns:
            The seconds to wait (0: the call is admitted), and which limit it is: `requests` or `tokens`.
        """
        amounts = {"requests": 1, "tokens": tokens}
        waits = [(bucket.wait_s(amounts[name], now_s), name) for name, bucket in self._buckets.items()]
        wait_s, scarce = max(waits, default=(0.0, ""))
        if wait_s == 0.0:
            for name, bucket in self._buckets.items():
                bucket.take(amounts[name])
        return wait_s, scarce

"""What a limited caller is told: the headers of OpenAI's and Anthropic's clients, and the 429.

The headers are about the tightest limit of each kind, the one with the least left.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from streams.events import ErrorInfo
from streams.limits.limiter import LimitExceeded, Standing
from streams.limits.subjects import LimitKind
from streams.serving.responses import NO_RETRY, ApiError

RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
#: No wait makes room for it.
LARGER_THAN_LIMIT = "request_larger_than_limit"
_IN_HEADERS = (LimitKind.REQUESTS, LimitKind.TOKENS)
#: For pages of other origins, which see only the headers that are named.
RATE_LIMIT_HEADERS = (
    "retry-after-ms",
    *(f"x-ratelimit-{part}-{kind}" for kind in _IN_HEADERS for part in ("limit", "remaining", "reset")),
)


def limit_headers(standings: Sequence[Standing], *, anthropic: bool, now: datetime) -> dict[str, str]:
    """Return the headers that say what is left: OpenAI's and, for its own API, Anthropic's too.

    A limit is reset when nothing of the last minute counts any more, as both define it: OpenAI says in how
    long (``59.8s``), Anthropic when (RFC 3339).
    """
    found: dict[str, str] = {}
    for kind, limit, remaining, reset_s in _tightest(standings):
        given = {"limit": str(limit), "remaining": str(remaining)}
        reset_ms = math.ceil(reset_s * 1000)
        reset = f"{reset_ms}ms" if reset_ms < 1000 else f"{reset_ms / 1000:g}s"
        found |= {f"x-ratelimit-{part}-{kind}": value for part, value in (given | {"reset": reset}).items()}
        if anthropic:
            at = (now + timedelta(seconds=reset_s)).astimezone(UTC).isoformat(timespec="seconds")
            given["reset"] = at.replace("+00:00", "Z")
            found |= {f"anthropic-ratelimit-{kind}-{part}": value for part, value in given.items()}
    return found


def _tightest(standings: Sequence[Standing]) -> Iterator[tuple[LimitKind, int, int, float]]:
    for kind in _IN_HEADERS:
        limited = [
            (remaining, limit, each.whole_in_s)
            for each in standings
            if (limit := kind.of(each.subject.bounds)) is not None
            and (remaining := each.remaining(kind)) is not None
        ]
        if limited:
            remaining, limit, reset_s = min(limited)
            yield kind, limit, remaining, reset_s


def too_many(found: LimitExceeded) -> ApiError:
    """Return the 429: which limit, whose, how large it is, and when to come back."""
    subject, kind = found.over.subject, found.kind
    field = "concurrent_requests" if kind is LimitKind.CONCURRENT else f"{kind}_per_minute"
    rule = f"limits.{subject.tier}.per_{subject.scope}.{field}"
    unit = "requests at a time" if kind is LimitKind.CONCURRENT else f"{kind} a minute"
    take = found.take.tokens if kind is LimitKind.TOKENS else found.take.requests
    words = (
        f"the tier {subject.tier!r} allows each {subject.scope} {kind.of(subject.bounds):,} {unit}; the "
        f"{subject.scope} {subject.name!r} "
    )
    if found.wait_s is None:
        words += f"asks for {take:,} at once, which can never pass: ask for less, or split it"
        return _refusal(words, LARGER_THAN_LIMIT, rule, NO_RETRY)
    wait_ms = max(1, math.ceil(found.wait_s * 1000))
    wait_s = math.ceil(wait_ms / 1000)
    words += f"has {found.over.used(kind):,}, and this would be {take:,} more: come back in {wait_s} s"
    again = {"Retry-After": str(wait_s), "retry-after-ms": str(wait_ms)}
    return _refusal(words, RATE_LIMIT_EXCEEDED, rule, again)


def _refusal(message: str, code: str, rule: str, headers: dict[str, str]) -> ApiError:
    error = ErrorInfo(type="rate_limit_error", code=code, message=message, param=rule)
    return ApiError(429, error, headers=headers)

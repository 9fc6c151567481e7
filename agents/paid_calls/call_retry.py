"""The retry schedule of provider calls: after a failure wait and try again, ask the next model, or give up.

How often a model is tried is the setting HEADRACE_PROVIDER_TRIES. `agents.runner.record_retry` is about
something else: records that a stage cannot process because Redis or Kafka is away.
"""

from enum import StrEnum

import msgspec

from agents.providers.faults import (
    AuthenticationFault,
    ClientNotLoaded,
    ContextTooLong,
    ModelUnavailable,
    ProviderFault,
    ProviderTimeout,
    QuotaExhausted,
    Refused,
    UnusableAnswer,
)

#: The waits between two tries of a model, in seconds: 1, 2, 4, … up to the limit; see `wait_before_retry_s`.
FIRST_WAIT_S, MAX_WAIT_S = 1.0, 10.0


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

    Args:
        fault: what went wrong.
        try_number: which try of this model that was, counting from 1.
        tries: how many tries a model has.
        remaining_s: the time until the request's deadline.
        has_next: whether another model could be asked.
        jitter: a random number from 0 to 1, so that clients do not come back all at once.
    """
    if isinstance(fault, Refused):
        elsewhere = isinstance(fault, ContextTooLong | ModelUnavailable)
        return CallRetryDecision(action=CallRetryAction.NEXT_MODEL if elsewhere else CallRetryAction.GIVE_UP)
    if isinstance(fault, AuthenticationFault | QuotaExhausted | ClientNotLoaded):
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

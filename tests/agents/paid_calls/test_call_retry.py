"""The retry decision, as a table."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.paid_calls.call_policy import MAX_WAIT_S, CallRetryAction, decide_call_retry
from agents.providers.faults import (
    AuthenticationFault,
    ConnectionLost,
    ContextTooLong,
    Malformed,
    ModelUnavailable,
    Overloaded,
    ProviderFault,
    ProviderTimeout,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServerFault,
    UnusableAnswer,
)

TIMEOUT = ProviderTimeout("first_token", after_s=30)


def limited(retry_after_s: float | None) -> RateLimited:
    return RateLimited("slow down", retry_after_s=retry_after_s)


class Case(NamedTuple):
    """A fault and where it strikes."""

    fault: ProviderFault
    try_number: int = 1
    remaining_s: float = 60
    has_next: bool = True


@pytest.mark.parametrize(
    ("case", "action", "wait_s"),
    [
        (Case(ServerFault("boom")), CallRetryAction.WAIT, 1.5),
        (Case(ServerFault("boom"), try_number=2), CallRetryAction.WAIT, 2.5),
        (Case(ServerFault("boom"), try_number=3), CallRetryAction.NEXT_MODEL, 0),
        (Case(ServerFault("boom"), try_number=3, has_next=False), CallRetryAction.NEXT_MODEL, 0),
        (Case(ServerFault("boom"), remaining_s=1.5), CallRetryAction.NEXT_MODEL, 0),
        (Case(ServerFault("boom", retry_after_s=4)), CallRetryAction.WAIT, 4.5),
        (Case(Overloaded("busy")), CallRetryAction.WAIT, 1.5),
        (Case(Malformed("what")), CallRetryAction.WAIT, 1.5),
        (Case(UnusableAnswer("it ends as nobody knows")), CallRetryAction.NEXT_MODEL, 0),
        (Case(UnusableAnswer("it is too long"), has_next=False), CallRetryAction.NEXT_MODEL, 0),
        (Case(ConnectionLost("gone")), CallRetryAction.WAIT, 1.5),
        (Case(limited(None)), CallRetryAction.WAIT, 1.5),
        (Case(limited(2)), CallRetryAction.WAIT, 2.25),
        (Case(limited(0)), CallRetryAction.WAIT, 0),
        (Case(limited(8)), CallRetryAction.WAIT, 8.5),
        (Case(limited(8), remaining_s=5), CallRetryAction.NEXT_MODEL, 0),
        (Case(limited(8), remaining_s=5, has_next=False), CallRetryAction.NEXT_MODEL, 0),
        (Case(limited(20)), CallRetryAction.NEXT_MODEL, 0),
        (Case(limited(20), has_next=False), CallRetryAction.WAIT, 20.5),
        (Case(TIMEOUT), CallRetryAction.NEXT_MODEL, 0),
        (Case(TIMEOUT, has_next=False), CallRetryAction.WAIT, 1.5),
        (Case(Refused("no")), CallRetryAction.GIVE_UP, 0),
        (Case(ContextTooLong("too long")), CallRetryAction.NEXT_MODEL, 0),
        (Case(ModelUnavailable("gone")), CallRetryAction.NEXT_MODEL, 0),
        (Case(AuthenticationFault("key")), CallRetryAction.NEXT_PROVIDER, 0),
        (Case(QuotaExhausted("pay")), CallRetryAction.NEXT_PROVIDER, 0),
    ],
)
def test_each_fault_has_its_consequence(case: Case, action: CallRetryAction, wait_s: float) -> None:
    """Transient faults wait, hopeless ones move on, the sender's own mistakes end the request."""
    decision = decide_call_retry(
        case.fault,
        try_number=case.try_number,
        tries=3,
        remaining_s=case.remaining_s,
        has_next=case.has_next,
        jitter=0.5,
    )
    assert (decision.action, decision.wait_s) == (action, wait_s)


@given(
    retry_after_s=st.none() | st.floats(0, 1000),
    try_number=st.integers(1, 10),
    remaining_s=st.floats(0, 600),
    has_next=st.booleans(),
    jitter=st.floats(0, 1),
)
def test_no_wait_outlives_the_deadline_nor_undercuts_retry_after(
    retry_after_s: float | None, try_number: int, remaining_s: float, has_next: bool, jitter: float
) -> None:
    """A wait fits the deadline, is at least what the provider asks, and at most 10 s if it asks nothing."""
    decision = decide_call_retry(
        limited(retry_after_s),
        try_number=try_number,
        tries=10,
        remaining_s=remaining_s,
        has_next=has_next,
        jitter=jitter,
    )
    if decision.action is not CallRetryAction.WAIT:
        return
    assert decision.wait_s < remaining_s
    assert try_number < 10
    if retry_after_s is None:
        assert min(2.0 ** (try_number - 1), MAX_WAIT_S) <= decision.wait_s <= MAX_WAIT_S
    else:
        assert retry_after_s <= decision.wait_s <= retry_after_s + 1

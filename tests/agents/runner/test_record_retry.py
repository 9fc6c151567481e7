"""When a record is tried again: decisions as tables."""

from datetime import timedelta
from typing import Any

import pytest

from agents.runner.record_retry import (
    GiveUp,
    MakeDeadLetter,
    PutAside,
    RecordRetryPolicy,
    RecordRetrySituation,
    WaitInPlace,
    decide_record_retry,
)
from streams.errors import SpendPending, StoreUnavailable
from tests.fakes.envelopes import NOW
from tests.fakes.settings import settings_of

POLICY = RecordRetryPolicy(in_place_s=5, attempts=3, max_delay_s=8)
LONG = NOW + timedelta(hours=6)


def at(**fields: Any) -> RecordRetrySituation:
    given: dict[str, Any] = {"now": NOW, "began_at": NOW, "deadline_at": LONG, "tries": 1, "attempt": 0}
    return RecordRetrySituation(**given | fields)


def decided(situation: RecordRetrySituation, *, retry_after_s: float = 0.0, jitter: float = 0.5) -> Any:
    return decide_record_retry(
        situation, StoreUnavailable("away", retry_after_s=retry_after_s), POLICY, jitter=lambda: jitter
    )


def aside(seconds: float) -> PutAside:
    return PutAside(NOW + timedelta(seconds=seconds))


SPENT = NOW - timedelta(seconds=5)


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (at(), WaitInPlace(0.1)),
        (at(tries=3), WaitInPlace(0.4)),
        (at(tries=500), WaitInPlace(2.0)),
        (at(tries=500, began_at=NOW - timedelta(seconds=3)), WaitInPlace(2.0)),
        (at(tries=500, began_at=NOW - timedelta(seconds=3.5)), aside(1)),
        (at(deadline_at=NOW + timedelta(seconds=0.05)), WaitInPlace(0.05)),
        (at(began_at=SPENT), aside(1)),
        (at(began_at=SPENT, attempt=2), aside(4)),
        (at(began_at=SPENT, attempt=2, deadline_at=NOW + timedelta(seconds=3)), aside(3)),
        (at(began_at=SPENT, deadline_at=NOW + timedelta(seconds=0.5)), WaitInPlace(0.1)),
        (at(began_at=SPENT, attempt=3), MakeDeadLetter()),
        (at(attempt=3), WaitInPlace(0.1)),
        (at(deadline_at=NOW), GiveUp()),
        (at(deadline_at=NOW - timedelta(days=9), attempt=99), GiveUp()),
    ],
)
def test_what_becomes_of_a_record(situation: RecordRetrySituation, expected: Any) -> None:
    """In place for a while; then aside, for ever longer; then buried; at its deadline, given up."""
    assert decided(situation) == expected


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (at(terminal=True, began_at=SPENT, attempt=99), aside(8)),
        (at(terminal=True, deadline_at=NOW), WaitInPlace(0.1)),
        (at(terminal=True, deadline_at=NOW - timedelta(days=1), began_at=SPENT, attempt=1), aside(2)),
        (at(terminal=True, deadline_at=NOW, began_at=SPENT, attempt=99), aside(8)),
    ],
)
def test_a_result_must_get_out(situation: RecordRetrySituation, expected: Any) -> None:
    """It was paid for, or its sender has a reply already: no cap, and no end at its deadline."""
    assert decided(situation) == expected


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (at(spends=True, deadline_at=NOW), WaitInPlace(0.1)),
        (at(spends=True, deadline_at=NOW, began_at=SPENT, attempt=1), aside(2)),
        (at(spends=True, deadline_at=NOW - timedelta(seconds=59), began_at=SPENT), aside(1)),
        (at(spends=True, deadline_at=NOW - timedelta(seconds=60)), GiveUp()),
        (at(spends=True, deadline_at=NOW, began_at=SPENT, attempt=3), MakeDeadLetter()),
        (at(spends=True, began_at=SPENT, attempt=3), MakeDeadLetter()),
    ],
)
def test_what_was_spent_must_be_looked_up(situation: RecordRetrySituation, expected: Any) -> None:
    """The journal knows what a former worker has spent: it has a minute beyond the deadline to come back."""
    assert decided(situation) == expected


def test_what_would_hold_up_what_it_waits_for_is_put_aside_at_once() -> None:
    """The outcome with the spend has the same key: it is not begun before this one is out of its way."""
    waits = at(terminal=True, deadline_at=NOW + timedelta(seconds=0.4))
    assert decide_record_retry(waits, SpendPending("spent"), POLICY, jitter=lambda: 0.5) == aside(0.4)
    assert decide_record_retry(at(), SpendPending("spent"), POLICY, jitter=lambda: 0.5) == aside(1)


def test_what_is_away_may_ask_for_a_pause() -> None:
    """As far as the longest delay allows."""
    spent = at(began_at=SPENT)
    assert decided(spent, retry_after_s=6) == aside(6)
    assert decided(spent, retry_after_s=60) == aside(8)


@pytest.mark.parametrize(("jitter", "wait_s", "delay_s"), [(0.0, 0.075, 0.75), (1.0, 0.125, 1.25)])
def test_waits_are_spread(jitter: float, wait_s: float, delay_s: float) -> None:
    """What went away for all does not meet all of them again at one moment."""
    assert decided(at(), jitter=jitter).seconds == pytest.approx(wait_s)
    assert decided(at(began_at=SPENT), jitter=jitter) == aside(delay_s)


def test_no_delay_is_longer_than_the_longest() -> None:
    """Not even by its jitter: the relay would not hold it longer."""
    assert decided(at(began_at=SPENT, attempt=2), retry_after_s=8, jitter=1.0) == aside(8)


def test_the_policy_is_that_of_the_settings() -> None:
    """Under the names that .env.example has."""
    settings = settings_of(retry_in_place_s=1, retry_attempts=2, retry_max_delay_s=3)
    assert RecordRetryPolicy.from_settings(settings) == RecordRetryPolicy(
        in_place_s=1, attempts=2, max_delay_s=3
    )

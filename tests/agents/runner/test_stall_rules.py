"""Who is stuck and who is not: a consumer looked at every second for ten minutes."""

from collections.abc import Callable

import pytest

from agents.runner.stage_app import ConsumerView
from agents.runner.stall_rules import StageWatch, Stall
from tests.agents.runner.views import partition, view, work

STALL_S = 120.0

Seen = Callable[[float], ConsumerView]


def watch(seen: Seen, *, until: float = 600.0) -> Stall | None:
    """Look every second, as the watchdog does."""
    stage = StageWatch(now=0.0)
    for now in range(1, int(until)):
        found = stage.look(seen(now), now, longer_than_s=STALL_S)
        if found is not None:
            return found
    return None


def polled(now: float) -> int:
    """A partition that is fetched gets an answer twenty times a second, records or not."""
    return int(now * 1000)


HEALTHY: dict[str, Seen] = {
    "idle": lambda now: view(partition(fetched_at_ms=polled(now))),
    "an idle member without partitions": lambda _: view(),
    "full of requests to a slow provider": lambda now: view(
        partition(highwater=900, position=18, in_hand=4),
        held=4,
        in_flight=[work(now - now % 300, allowed_s=300)] * 4,
        last_begin_at=now - now % 300,
    ),
    "one request of six hours before finished ones": lambda now: view(
        partition(
            committed=10,
            committable=10,
            position=10 + int(now),
            highwater=10 + int(now),
            in_hand=1,
            fetched_at_ms=polled(now),
        ),
        held=1,
        in_flight=[work(0, allowed_s=6 * 3600)],
        last_begin_at=now,
    ),
    "a steady load, always a little behind": lambda now: view(
        partition(
            committed=int(now),
            committable=int(now) + 3,
            position=int(now) + 4,
            highwater=int(now) + 50,
            in_hand=1,
        ),
        held=1,
        in_flight=[work(now - 1)],
        last_begin_at=now,
    ),
    "records put aside every seven seconds while Redis is away": lambda now: view(
        partition(committed=int(now / 7), position=4 + int(now / 7), highwater=10_000, in_hand=4),
        held=4,
        in_flight=[work(now - now % 7)] * 4,
        last_begin_at=now - now % 7,
    ),
    "rebalance after rebalance": lambda now: view(rebalancing=True, rebalances=int(now / 60)),
    "a relay that holds records for half a minute": lambda now: view(
        partition(fetched_at_ms=polled(now), in_hand=1),
        held=1,
        in_flight=[work(now - now % 30, allowed_s=30)],
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_who_has_a_reason_to_wait_is_not_stuck(name: str) -> None:
    """However long it lasts."""
    assert watch(HEALTHY[name]) is None


STUCK: dict[str, tuple[str, Seen]] = {
    "there are records, there is room, and nothing begins": (
        "not_fetching",
        lambda now: view(partition(highwater=11, fetched_at_ms=polled(now))),
    ),
    "records were delivered, and the agent takes none": (
        "not_fetching",
        lambda now: view(partition(in_hand=3, fetched_at_ms=polled(now)), held=1, in_flight=[work(now)]),
    ),
    "the loop that asks for records has ended": (
        "not_polling",
        lambda now: view(partition(fetched_at_ms=polled(now)), polls=7),
    ),
    "no answers to fetches": ("silent", lambda _: view(partition())),
    "acknowledged, but not committed": (
        "not_committing",
        lambda now: view(partition(committable=12, fetched_at_ms=polled(now)), last_begin_at=now),
    ),
    "acknowledged in a new group, but never committed": (
        "not_committing",
        lambda now: view(
            partition(committed=None, committable=12, fetched_at_ms=polled(now)), last_begin_at=now
        ),
    ),
    "one partition commits and another does not": (
        "not_committing",
        lambda now: view(
            partition(committed=int(now), committable=int(now) + 1, fetched_at_ms=polled(now)),
            partition(partition=1, committed=10, committable=12, fetched_at_ms=polled(now)),
            last_begin_at=now,
        ),
    ),
    "a handler that never returns": (
        "overdue",
        lambda now: view(
            partition(fetched_at_ms=polled(now), in_hand=1), held=1, in_flight=[work(0)], last_begin_at=now
        ),
    ),
    "all slots taken by handlers that never return": (
        "overdue",
        lambda _: view(partition(highwater=99, in_hand=4), held=4, in_flight=[work(0)] * 4),
    ),
    "a model call that outlives its deadline": (
        "overdue",
        lambda now: view(
            partition(fetched_at_ms=polled(now), in_hand=1), held=1, in_flight=[work(0, allowed_s=60)]
        ),
    ),
    "a rebalance without an end": ("rebalancing", lambda _: view(rebalancing=True)),
    "a group that is never joined": ("rebalancing", lambda _: view(joined=False)),
}


@pytest.mark.parametrize("name", STUCK)
def test_who_could_move_and_does_not_is_stuck(name: str) -> None:
    """After the stall time-out, and not before."""
    what, seen = STUCK[name]
    found = watch(seen)
    assert found is not None
    assert (found.what, found.stage) == (what, "guardrail")
    assert STALL_S < found.for_s <= STALL_S + 1
    assert watch(seen, until=STALL_S) is None


@pytest.mark.parametrize("name", STUCK)
def test_whoever_is_forgiven_has_all_the_time_again(name: str) -> None:
    """The broker was away: every consumer is late for everything."""
    what, seen = STUCK[name]
    stage = StageWatch(now=0.0)
    for now in range(1, 400):
        stage.look(seen(now), now, longer_than_s=STALL_S)
    stage.forgive(400)
    for now in range(400, 520):
        assert stage.look(seen(now), now, longer_than_s=STALL_S) is None
    found = stage.look(seen(521), 521, longer_than_s=STALL_S)
    assert found is not None
    assert found.what == what


def test_of_several_things_the_longest_counts() -> None:
    """That is where to look first."""
    stage = StageWatch(now=0.0)
    found = None
    for now in range(1, 300):
        seen = view(partition(committable=12 if now > 20 else None, in_hand=1), in_flight=[work(0)], held=1)
        found = found or stage.look(seen, now, longer_than_s=STALL_S)
    assert found is not None
    assert found.what == "overdue"


def test_a_commit_that_moves_ends_the_suspicion() -> None:
    """Every hundred seconds is slow, and is not stuck."""

    def seen(now: float) -> ConsumerView:
        committed = int(now / 100) * 5
        return view(
            partition(committed=committed, committable=committed + 5, fetched_at_ms=polled(now)),
            last_begin_at=now,
        )

    assert watch(seen) is None


def test_the_last_commit_that_moved_is_known() -> None:
    """A first assignment is none, and a commit that stands still neither."""
    stage = StageWatch(now=0.0)
    for now, committed in ((1, 10), (2, 10), (3, 12), (4, 12)):
        stage.look(view(partition(committed=committed)), now, longer_than_s=STALL_S)
    assert stage.last_commit_at == 3

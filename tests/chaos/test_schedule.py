"""The plan of faults."""

import itertools

from bench.chaos.schedule import Deed, Step, kills, long_plan, opening, short_plan

DURATION_S = 1500.0


def _plan(seed: int = 7) -> tuple[Step, ...]:
    return long_plan(seed, duration_s=DURATION_S, workers=2)


def test_the_same_seed_gives_the_same_plan() -> None:
    """A run can be repeated."""
    assert _plan(7) == _plan(7)
    assert _plan(7) != _plan(8)
    assert short_plan(7, workers=2) == short_plan(7, workers=2)


def test_the_long_plan_kills_every_role_often_enough() -> None:
    """25 minutes hold at least 40 kills, of every role and of the broker, whatever the seed."""
    for seed in range(20):
        counts = kills(_plan(seed))
        assert set(counts) == {"worker", "ingest", "analytics", "kafka", "redis", "clickhouse"}
        assert sum(counts.values()) >= 40


def test_the_short_plan_kills_every_role() -> None:
    """The short form leaves no role out, and has a rebalance and a ClickHouse that is gone."""
    for seed in range(20):
        plan = short_plan(seed, workers=2)
        assert set(kills(plan)) == {"worker", "ingest", "analytics", "kafka", "redis", "clickhouse"}
        assert {Deed.JOIN, Deed.FREEZE} <= {step.deed for step in plan}


def test_the_first_kill_comes_before_the_first_answer_of_a_provider() -> None:
    """A fresh group that has committed nothing is where stock Faust forgets what is in flight."""
    assert opening(2)[0].at_s < 5
    assert _plan()[:2] == opening(2)
    assert len(opening(1)) == 1


def test_steps_come_in_their_order() -> None:
    """The plan is carried out from its beginning to its end."""
    for plan in (_plan(), short_plan(7, workers=2)):
        times = [step.at_s for step in plan]
        assert times == sorted(times)
        assert times[-1] < DURATION_S


def test_faults_that_stand_alone_leave_room_for_recovery() -> None:
    """Only the two kills of a pair, which are marked, meet."""
    for seed in range(20):
        plan = _plan(seed)[2:]
        for before, after in itertools.pairwise(plan):
            if after.alone and after.deed is not Deed.LEAVE:
                assert after.at_s - before.at_s >= 10


def test_some_kills_overlap() -> None:
    """Two roles die within three seconds of each other."""
    pairs = [
        (before.target, after.target)
        for before, after in zip(_plan(), _plan()[1:], strict=False)
        if not before.alone and not after.alone and after.at_s - before.at_s <= 3
    ]
    assert pairs
    assert all(one != other for one, other in pairs)


def test_who_joins_leaves() -> None:
    """No worker of the plan is left over, even where the time is up before its turn."""
    for seed in range(20):
        for duration_s in (120.0, 300.0, 410.0, DURATION_S):
            plan = long_plan(seed, duration_s=duration_s, workers=2)
            joined = [step.target for step in plan if step.deed is Deed.JOIN]
            left = [step.target for step in plan if step.deed in (Deed.LEAVE, Deed.KILL_JOINED)]
            assert sorted(joined) == sorted(left)
            assert len(set(joined)) == len(joined)

"""When what goes wrong: a plan that is data, made from a seed, so that a run can be repeated."""

import random
from collections.abc import Iterable
from enum import StrEnum

import msgspec

#: No two faults closer than this, but for those that are meant to meet: recovery takes less.
_MIN_GAP_S, _MAX_GAP_S = 13.0, 24.0
#: How long after the first fault of a pair the second one strikes.
_PAIR_GAP_S = (0.5, 3.0)
#: Nothing is broken in the last seconds of the load.
_CALM_END_S = 20.0


class Deed(StrEnum):
    """What is done to a role."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP"
    JOIN = "joins"
    LEAVE = "leaves by SIGTERM"
    KILL_JOINED = "leaves by kill -9"
    PROVIDER = "provider"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One fault.

    Attributes:
        at_s: seconds after the start of the load.
        target: a role; the name of a worker that joins; or what providers do.
        for_s: how long it lasts, where it does not end by itself.
        alone: no other fault is near, so that its recovery can be measured.
    """

    at_s: float
    deed: Deed
    target: str
    for_s: float = 0.0
    alone: bool = True

    def __str__(self) -> str:
        lasting = f" for {self.for_s:.0f} s" if self.for_s else ""
        return f"{self.at_s:7.1f} s  {self.target}: {self.deed.value}{lasting}"


PROVIDER_FAULTS = ("rate_limit", "server_error", "hang", "drop", "slow")


def opening(workers: int) -> tuple[Step, ...]:
    """Return the kills of the first seconds: nothing is committed yet, and quick requests pass slow ones."""
    kills = [Step(at_s=3.5, deed=Deed.KILL, target="worker-0", alone=False)]
    if workers > 1:
        kills.append(Step(at_s=10.0, deed=Deed.KILL, target="worker-1", alone=False))
    return tuple(kills)


def long_plan(seed: int, *, duration_s: float, workers: int) -> tuple[Step, ...]:
    """Return the plan of the long form: shuffled rounds of every fault until the time is up."""
    chance = random.Random(seed)
    steps, at_s, number = list(opening(workers)), 30.0, 0
    while True:
        for fault in _round(chance, number, workers):
            for step in fault:
                at_s = at_s + step.at_s
                if at_s > duration_s - _CALM_END_S:
                    return _with_departures(steps, duration_s)
                steps.append(msgspec.structs.replace(step, at_s=round(at_s, 1)))
        number += 1


def short_plan(seed: int, *, workers: int) -> tuple[Step, ...]:
    """Return the plan of the short form: every role once, and one rebalance, within about 80 seconds."""
    chance = random.Random(seed)
    roles = ["ingest", "analytics", "redis", "kafka"]
    chance.shuffle(roles)
    steps = [*opening(workers), Step(at_s=16.0, deed=Deed.JOIN, target="joined-0")]
    steps.append(Step(at_s=20.0, deed=Deed.FREEZE, target="clickhouse", for_s=20.0))
    at_s = 24.0
    for role in roles:
        steps.append(Step(at_s=at_s, deed=Deed.KILL, target=role))
        at_s += 14.0 if role == "kafka" else 6.0
    steps.append(Step(at_s=at_s, deed=Deed.KILL_JOINED, target="joined-0"))
    steps.append(Step(at_s=at_s + 10.0, deed=Deed.KILL, target="clickhouse"))
    steps.append(Step(at_s=at_s + 11.0, deed=Deed.PROVIDER, target="server_error", for_s=4.0))
    return tuple(steps)


def kills(steps: Iterable[Step]) -> dict[str, int]:
    """Return how often each role is killed."""
    counts: dict[str, int] = {}
    for step in steps:
        if step.deed in (Deed.KILL, Deed.KILL_JOINED):
            role = "worker" if step.target.startswith(("worker-", "joined-")) else step.target
            counts[role] = counts.get(role, 0) + 1
    return counts


def _round(chance: random.Random, number: int, workers: int) -> list[tuple[Step, ...]]:
    """Return one round: each entry is a fault of one or two steps, whose times are gaps."""
    worker = [f"worker-{index}" for index in range(workers)]
    alone = [*worker, *worker, "ingest", "analytics", "redis", "clickhouse", "kafka"]
    entries: list[tuple[Step, ...]] = [(_kill(chance, role),) for role in alone]
    entries.append(_pair(chance, chance.choice(worker), chance.choice(["ingest", "redis", "analytics"])))
    entries.append(_pair(chance, "kafka" if number % 2 else chance.choice(worker), chance.choice(worker)))
    entries.append((_step(chance, Deed.FREEZE, "clickhouse", for_s=chance.uniform(30, 120)),))
    entries.append((_step(chance, Deed.FREEZE, chance.choice(worker), for_s=chance.uniform(8, 15)),))
    entries += [
        (_step(chance, Deed.PROVIDER, kind, for_s=chance.uniform(5, 12)),)
        for kind in chance.sample(PROVIDER_FAULTS, 3)
    ]
    ends = [Deed.LEAVE, Deed.KILL_JOINED]
    for index, end in enumerate(ends):
        name = f"joined-{2 * number + index}"
        entries.append((_step(chance, Deed.JOIN, name), _step(chance, end, name)))
    chance.shuffle(entries)
    return entries


def _kill(chance: random.Random, role: str) -> Step:
    return _step(chance, Deed.KILL, role)


def _step(chance: random.Random, deed: Deed, target: str, *, for_s: float = 0.0) -> Step:
    # What follows a fault must wait until that one is over, and a broker takes longest.
    gap_s = chance.uniform(_MIN_GAP_S, _MAX_GAP_S)
    return Step(at_s=gap_s, deed=deed, target=target, for_s=round(for_s, 1))


def _pair(chance: random.Random, first: str, second: str) -> tuple[Step, ...]:
    """Return two kills that meet; a role does not meet itself."""
    one = msgspec.structs.replace(_kill(chance, first), alone=False)
    if first == second:
        return (one,)
    return (one, Step(at_s=chance.uniform(*_PAIR_GAP_S), deed=Deed.KILL, target=second, alone=False))


def _with_departures(steps: list[Step], duration_s: float) -> tuple[Step, ...]:
    """Let those leave that joined last."""
    gone = {step.target for step in steps if step.deed in (Deed.LEAVE, Deed.KILL_JOINED)}
    left = [step.target for step in steps if step.deed is Deed.JOIN and step.target not in gone]
    at_s = duration_s - _CALM_END_S + 1
    return (*steps, *(Step(at_s=at_s, deed=Deed.LEAVE, target=name) for name in left))

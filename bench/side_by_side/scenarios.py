"""What the contenders are asked, and how the provider behaves meanwhile."""

import csv
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.side_by_side.load import Arrival

_WORDS = ("The", "water", "turns", "our", "mill")
_STREAMED_TOKENS = 40


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of load.

    Attributes:
        plan: the fields of the generator's `Plan` that make it.
        behaviour: what the simulator is told; without it, it answers at once.
        cached: whether contenders that may cache do.
    """

    name: str
    title: str
    plan: Mapping[str, Any]
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    cached: bool = False


_PACED = {
    "latency": {"first_token_ms": 100, "tokens_per_second": 50},
    "answers": [{"text": " ".join(itertools.islice(itertools.cycle(_WORDS), _STREAMED_TOKENS))}],
}

_ALL = (
    Scenario(name="alone", title="one at a time", plan={"users": 1, "requests": 200}),
    Scenario(name="users-100", title="100 users", plan={"users": 100, "requests": 1500}),
    Scenario(name="users-500", title="500 users", plan={"users": 500, "requests": 2500}),
    Scenario(
        name="stream",
        title="20 streams of 40 tokens at 50 tokens/s",
        plan={"users": 20, "requests": 200, "stream": True},
        behaviour=_PACED,
    ),
    Scenario(
        name="hits",
        title="50 users, 30 % of the questions asked before",
        plan={"users": 50, "requests": 1000, "repeat_share": 0.3},
        cached=True,
    ),
    Scenario(name="small", title="10 users with small prompts", plan={"users": 10, "requests": 500}),
    Scenario(
        name="large",
        title="the same 10 users beside one with prompts of 100 KB",
        plan={"users": 10, "requests": 500, "large_users": 1},
    ),
)
_REPLAY = "replay"
NAMES = (*(each.name for each in _ALL), _REPLAY)


def chosen(names: list[str], *, scale: float, trace: Path, trace_s: float, speed: float) -> list[Scenario]:
    """Return the scenarios of these names, `scale` times as many requests as usual in each.

    Raises:
        FileNotFoundError: `replay` is among them, and there is no trace.
    """
    found = [_scaled(each, scale) for each in _ALL if each.name in names]
    if _REPLAY in names:
        found.append(_replay(trace, trace_s * scale, speed))
    return found


def _scaled(scenario: Scenario, scale: float) -> Scenario:
    plan = {**scenario.plan, "requests": max(1, round(scenario.plan["requests"] * scale))}
    plan["users"] = min(plan["users"], plan["requests"])
    return Scenario(
        name=scenario.name,
        title=scenario.title,
        plan=plan,
        behaviour=scenario.behaviour,
        cached=scenario.cached,
    )


def _replay(trace: Path, seconds: float, speed: float) -> Scenario:
    arrivals = list(itertools.takewhile(lambda each: each.at_s <= seconds, _arrivals(trace, speed)))
    return Scenario(
        name=_REPLAY,
        title=f"{len(arrivals)} requests of {trace.stem} at {speed:g} times its pace",
        plan={"trace": arrivals},
    )


def _arrivals(trace: Path, speed: float) -> Iterator[Arrival]:
    """Yield the requests of one of Azure's traces: TIMESTAMP, ContextTokens, GeneratedTokens."""
    with trace.open(newline="") as file:
        first: datetime | None = None
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or at
            yield Arrival(
                at_s=(at - first).total_seconds() / speed,
                input_tokens=int(row["ContextTokens"]),
                output_tokens=max(1, int(row["GeneratedTokens"])),
            )

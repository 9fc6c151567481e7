"""The figures as tables: medians over the rounds with least and most, and ratios round by round."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from bench.side_by_side.load import Quantiles
from bench.side_by_side.measuring import Measurement
from bench.side_by_side.scenarios import Scenario

_EMPTY = Quantiles(count=0, p50=0.0, p95=0.0, p99=0.0, most=0.0)
_HEADRACE = "headrace"
_PROVIDER = "provider"

Figure = Callable[[Measurement], float]


def _small(each: Measurement) -> Quantiles:
    return each.outcome.latency.get("small", _EMPTY)


#: What is compared, by the heading of its column.
FIGURES: dict[str, Figure] = {
    "requests/s": lambda each: each.rate,
    "p50 ms": lambda each: _small(each).p50,
    "p95 ms": lambda each: _small(each).p95,
    "p99 ms": lambda each: _small(each).p99,
    "CPU ms": lambda each: each.cpu_ms,
    "CPU ms, not idle": lambda each: each.net_cpu_ms,
    "requests/s a core": lambda each: 1000 / each.cpu_ms if each.cpu_ms else 0.0,
    "calls a request": lambda each: each.provider_calls / max(1, each.outcome.answered),
}
STREAM_FIGURES: dict[str, Figure] = {
    "first text p50 ms": lambda each: each.outcome.first_text.p50,
    "first text p99 ms": lambda each: each.outcome.first_text.p99,
    "gap p50 ms": lambda each: each.outcome.gap.p50,
    "gap p99 ms": lambda each: each.outcome.gap.p99,
    "pieces": lambda each: each.outcome.pieces,
}


def tables(scenarios: Iterable[Scenario], found: Sequence[Measurement]) -> str:
    """Return a table for each scenario, in Markdown."""
    return "\n".join(
        line
        for scenario in scenarios
        for line in _scenario(scenario, [each for each in found if each.scenario == scenario.name])
    )


def _scenario(scenario: Scenario, found: Sequence[Measurement]) -> list[str]:
    figures = FIGURES | (STREAM_FIGURES if scenario.plan.get("stream") else {})
    names = list(dict.fromkeys(each.contender for each in found))
    lines = [
        f"\n### {scenario.name}: {scenario.title}\n",
        _row(["", *figures]),
        _row(["---"] * (len(figures) + 1)),
    ]
    lines += [
        _row(
            [
                name,
                *(
                    spread([figure(each) for each in found if each.contender == name])
                    for figure in figures.values()
                ),
            ]
        )
        for name in names
    ]
    lines += [
        _row(
            [f"**headrace / {name}**", *(spread(ratios(found, name, figure)) for figure in figures.values())]
        )
        for name in names
        if name not in {_HEADRACE, _PROVIDER} and _HEADRACE in names
    ]
    lines.append("")
    lines += [
        f"CPU ms a request of {name}, not idle: {_by_role(found, name)}"
        for name in names
        if name != _PROVIDER
    ]
    lines += [
        f"FAILED: {each.contender}, round {each.round}: {dict(each.outcome.failed)}"
        for each in found
        if each.outcome.failed
    ]
    return lines


def ratios(found: Sequence[Measurement], other: str, figure: Figure) -> list[float]:
    """Return Headrace's figure by another's, of each round that has both."""
    by_round = {(each.contender, each.round): figure(each) for each in found}
    return [
        value / by_round[other, number]
        for (name, number), value in by_round.items()
        if name == _HEADRACE and by_round.get((other, number))
    ]


def spread(values: Sequence[float]) -> str:
    """Return the median with least and most."""
    if not values:
        return "–"
    median = _short(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({_short(min(values))}–{_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _by_role(found: Sequence[Measurement], name: str) -> str:
    own = [each for each in found if each.contender == name]
    roles = dict.fromkeys(role for each in own for role in each.cpu_s)
    idle = spread([1000 * sum(each.idle.values()) for each in own])
    parts = [f"{role} {spread([each.net_cpu_ms_by_role.get(role, 0.0) for each in own])}" for role in roles]
    memory = spread([each.resident_mib for each in own])
    return f"{', '.join(parts)}; idle {idle} ms/s; {memory} MiB resident"

"""The figures as tables: medians over the rounds with least and most, and ratios round by round."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from bench.side_by_side.load import Quantiles
from bench.side_by_side.measuring import KafkaFloor, Measurement
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
        if any(each.scenario == scenario.name for each in found)
        for line in _scenario(scenario, [each for each in found if each.scenario == scenario.name])
    )


def head_of_line(found: Sequence[Measurement]) -> str:
    """Return how much longer small prompts take beside large ones, by contender; nothing without both."""
    by_place = {(each.scenario, each.contender, each.round): each for each in found}
    lines = []
    for name in dict.fromkeys(each.contender for each in found):
        pairs = [
            (_small(each), _small(by_place["small", name, number]))
            for (scenario, contender, number), each in by_place.items()
            if (scenario, contender) == ("large", name) and ("small", name, number) in by_place
        ]
        p50 = spread([beside.p50 / without.p50 for beside, without in pairs if without.p50])
        p99 = spread([beside.p99 / without.p99 for beside, without in pairs if without.p99])
        if pairs:
            lines.append(
                f"{name}: small prompts beside large ones take {p50} (p50), {p99} (p99) times as long"
            )
    return "\n".join(lines)


def floor_table(floors: Sequence[KafkaFloor], found: Sequence[Measurement]) -> str:
    """Return what Kafka alone takes, and how it stands to Headrace one at a time, in Markdown."""
    raw = [each.figures for each in floors]
    p50 = [each.latency.p50 for each in raw]
    rows: dict[str, Sequence[float]] = {
        "p50 ms, one at a time": p50,
        "p99 ms, one at a time": [each.latency.p99 for each in raw],
        "CPU ms a request, one at a time": [each.cpu_ms for each in raw],
        f"CPU ms a request, {raw[0].in_flight} in flight": [each.cpu_ms_in_flight for each in raw],
        f"requests/s, {raw[0].in_flight} in flight": [each.rate_in_flight for each in raw],
        "CPU ms a request of the broker, over both": [each.broker_cpu_ms for each in floors],
    }
    alone = [_small(each).p50 for each in found if (each.scenario, each.contender) == ("alone", _HEADRACE)]
    if alone:
        rows["p50 of headrace alone / this p50"] = [each / statistics.median(p50) for each in alone]
    lines = [
        f"\n### kafka: {raw[0].traversals} topics one after another, aiokafka alone\n",
        "| | |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(_row([title, spread(values)]) for title, values in rows.items())])


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

"""The figures as one SVG: a row of bars for each figure, a group of bars for each scenario."""

import statistics
from collections.abc import Callable, Sequence
from html import escape

from bench.side_by_side.measuring import Measurement
from bench.side_by_side.report import FIGURES

_SHOWN = ("requests/s", "p50 ms", "p99 ms", "CPU ms, not idle")
_COLOURS = ("#1f6f8b", "#e08e45", "#7a9e4f", "#8a8a8a")
_BAR, _GAP, _HEIGHT, _TOP, _LEFT = 22, 26, 120, 46, 16


def svg(found: Sequence[Measurement]) -> str:
    """Return the plot: medians, with a line from least to most; each row has a scale of its own."""
    scenarios = list(dict.fromkeys(each.scenario for each in found))
    names = list(dict.fromkeys(each.contender for each in found))
    group = len(names) * _BAR + _GAP
    width, row = _LEFT + len(scenarios) * group + 40, _HEIGHT + 60
    parts = [
        f'<rect x="{_LEFT + 110 * place}" y="8" width="12" height="12" fill="{_COLOURS[place % 4]}"/>'
        f'<text x="{_LEFT + 110 * place + 16}" y="18">{escape(name)}</text>'
        for place, name in enumerate(names)
    ]
    for place, title in enumerate(_SHOWN):
        parts += _row(found, scenarios, names, FIGURES[title], title, top=_TOP + place * row)
    width = max(width, _LEFT + 110 * len(names))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_TOP + row * len(_SHOWN)}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _row(
    found: Sequence[Measurement],
    scenarios: Sequence[str],
    names: Sequence[str],
    figure: Callable[[Measurement], float],
    title: str,
    *,
    top: int,
) -> list[str]:
    most = max((figure(each) for each in found), default=0.0) or 1.0
    floor = top + 20 + _HEIGHT
    parts = [
        f'<text x="{_LEFT}" y="{top + 10}" font-weight="bold">{escape(title)} (highest {most:,.1f})</text>'
    ]
    for group, scenario in enumerate(scenarios):
        left = _LEFT + group * (len(names) * _BAR + _GAP)
        parts.append(f'<text x="{left}" y="{floor + 26}">{escape(scenario)}</text>')
        for place, name in enumerate(names):
            values = [figure(each) for each in found if (each.scenario, each.contender) == (scenario, name)]
            if values:
                parts.append(_bar(values, most, left + place * _BAR, floor, _COLOURS[place % 4]))
    return parts


def _bar(values: Sequence[float], most: float, left: int, floor: int, colour: str) -> str:
    median = statistics.median(values)
    height, low, high = (_HEIGHT * each / most for each in (median, min(values), max(values)))
    middle = left + (_BAR - 4) / 2
    said = f"{median:,.0f}" if median >= 10 else f"{median:.1f}"
    return (
        f'<rect x="{left}" y="{floor - height:.1f}" width="{_BAR - 4}" height="{height:.1f}" '
        f'fill="{colour}"/>'
        f'<line x1="{middle}" x2="{middle}" y1="{floor - low:.1f}" y2="{floor - high:.1f}" stroke="black"/>'
        f'<text x="{middle}" y="{floor + 11}" font-size="8" text-anchor="middle">{said}</text>'
    )

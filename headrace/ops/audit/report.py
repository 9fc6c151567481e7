"""The report of an audit: figures, equations, findings, and what was read; and as text for people."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text


class AuditVerdict(StrEnum):
    """What an audit comes to."""

    BALANCED = "balanced"
    OPEN = "open"  # nothing is wrong so far, but something is still under way
    UNBALANCED = "unbalanced"


class Equation(msgspec.Struct, frozen=True, kw_only=True):
    """Two sides that must be equal. `holds` may be stricter than the sums: it is checked per request."""

    name: str
    left: str
    right: str
    holds: bool


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something an operator should know. `code` is stable, for scripts; `ids` are the first ones."""

    code: str
    title: str
    count: int
    breaks: bool
    ids: tuple[str, ...]
    advice: str


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh what was read is, in words."""

    name: str
    state: str


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `headrace audit` prints. Times are RFC 3339, UTC.

    `figures` are counts of requests unless the name says otherwise; `…_usd` is text with nine decimals.
    `waiting`: how much is still under way.
    """

    verdict: AuditVerdict
    since: str
    until: str
    took_s: float
    figures: dict[str, Any]
    equations: tuple[Equation, ...]
    findings: tuple[Finding, ...]
    parts: tuple[SourceState, ...]
    waiting: int = 0


_VERDICTS = {
    AuditVerdict.BALANCED: ("balanced", "bold green"),
    AuditVerdict.OPEN: ("nothing is wrong so far, but something is still under way", "bold yellow"),
    AuditVerdict.UNBALANCED: ("does not balance", "bold red"),
}
_STATES = ("answered", "cached", "degraded", "blocked", "failed", "cancelled", "open", "missing")


def show(report: AuditReport, console: Console, *, details: bool = False) -> None:
    """Print a report: only what is not as it should be in full, everything that was read with `details`."""
    good, bad = Text("✓", style="green"), Text("✗", style="bold red")
    parts: list[RenderableType] = [
        Text(f"requests of {report.since} to {report.until}", style="dim"),
        Text("\n".join(_figure_lines(report.figures))),
        Text(),
        _table((good if each.holds else bad, each.name, each.left, each.right) for each in report.equations),
    ]
    for finding in report.findings:
        parts += [Text(), _finding(finding)]
    if details or report.verdict is not AuditVerdict.BALANCED:
        parts += [Text(), _table(((part.name, part.state) for part in report.parts), style="dim")]
    words, style = _VERDICTS[report.verdict]
    console.print(Group(*parts, Text(), Text(words, style=style) + Text(f"  ({report.took_s:g} s)", "dim")))


def _figure_lines(figures: dict[str, Any]) -> Iterator[str]:
    states = [f"{figures[name]} {name}" for name in _STATES if figures[name]]
    yield f"{figures['accepted']} accepted = " + (" + ".join(states) or "0")
    facts = {
        "malformed records": figures["malformed"],
        "with a dead letter": figures["dead_lettered"],
        "repeated submissions": figures["submissions"] - figures["accepted"],
        "conflicts": figures["conflicts"],
        "replies sent again": figures["resent_replies"],
        "bookings sent again": figures["resent_charges"],
        "retries waiting": figures["retries_waiting"],
        "rows on their way": figures["rows_waiting"],
    }
    if told := [f"{number} {name}" for name, number in facts.items() if number > 0]:
        yield " · ".join(told)
    yield f"{figures['calls']} calls, ${figures['ledger_usd']} in the ledger"
    for name, kind in (("orphaned", "orphaned"), ("failed, stopped or estimated", "failed")):
        if number := figures[f"{kind}_calls"]:
            invoiced = figures[f"{kind}_invoiced_usd"]
            billed = "" if invoiced is None else f", invoiced ${invoiced}"
            yield f"{number} {name} calls: booked ${figures[f'{kind}_booked_usd']}{billed}"
    not_invoiced = figures["estimates_not_invoiced"]
    if not_invoiced is not None and figures["orphaned_calls"] + figures["failed_calls"]:
        yield (
            f"of these, booked above the invoice: ${figures['estimates_over_usd']} (not billed at all: "
            f"{not_invoiced} calls); below it: ${figures['estimates_under_usd']}"
        )
    if figures["invoice_usd"] is None:
        yield "no simulator is known: the provider's invoice is left out (--invoice URL)"


def _finding(finding: Finding) -> Text:
    mark = Text("✗ ", style="bold red") if finding.breaks else Text("· ", style="yellow")
    more = finding.count - len(finding.ids)
    ids = ", ".join(finding.ids) + (f", and {more} more" if more > 0 else "")
    return mark + Text(f"{finding.count} × {finding.title}\n  {ids}\n") + Text(f"  → {finding.advice}", "dim")


def _table(rows: Iterable[tuple[str | Text, ...]], *, style: str = "") -> Table:
    """Return rows without borders; the third and fourth columns are numbers."""
    table = Table(box=None, pad_edge=False, show_header=False, style=style)
    for row in rows:
        while len(table.columns) < len(row):
            table.add_column(justify="right" if len(table.columns) > 1 else "left")
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table

"""The report for people: short, and only what is not as it should be in full."""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.ops.audit.report import AuditFigures, AuditReport, AuditVerdict, Equation, Finding

_VERDICTS = {
    AuditVerdict.BALANCED: ("balanced", "bold green"),
    AuditVerdict.OPEN: ("nothing is wrong so far, but something is still under way", "bold yellow"),
    AuditVerdict.UNBALANCED: ("does not balance", "bold red"),
}
_STATES = ("answered", "cached", "degraded", "blocked", "failed", "cancelled", "open", "missing")


def show(report: AuditReport, console: Console, *, details: bool = False) -> None:
    """Print what `headrace audit` prints."""
    parts: list[RenderableType] = [
        Text(f"requests of {report.since} to {report.until}", style="dim"),
        Text("\n".join(_figures(report.figures))),
        Text(),
        _table((_mark(each), each.name, each.left, each.right) for each in report.equations),
    ]
    for finding in report.findings:
        parts += [Text(), _finding(finding)]
    if details or report.verdict is not AuditVerdict.BALANCED:
        parts += [Text(), _table(((part.name, part.state) for part in report.parts), style="dim")]
    words, style = _VERDICTS[report.verdict]
    console.print(Group(*parts, Text(), Text(words, style=style) + Text(f"  ({report.took_s:g} s)", "dim")))


def _figures(figures: AuditFigures) -> Iterable[str]:
    states = [f"{getattr(figures, name)} {name}" for name in _STATES if getattr(figures, name)]
    yield f"{figures.accepted} accepted = " + (" + ".join(states) or "0")
    facts = [
        (figures.malformed, "malformed records"),
        (figures.dead_lettered, "with a dead letter"),
        (figures.submissions - figures.accepted, "repeated submissions"),
        (figures.conflicts, "conflicts"),
        (figures.resent_replies, "replies sent again"),
        (figures.resent_charges, "bookings sent again"),
        (figures.retries_waiting, "retries waiting"),
        (figures.rows_waiting, "rows on their way"),
    ]
    if told := [f"{number} {name}" for number, name in facts if number > 0]:
        yield " · ".join(told)
    yield f"{figures.calls} calls, ${figures.ledger_usd} in the ledger"
    for name, kind in (("orphaned", "orphaned"), ("failed, stopped or estimated", "failed")):
        if number := getattr(figures, f"{kind}_calls"):
            invoiced = getattr(figures, f"{kind}_invoiced_usd")
            billed = "" if invoiced is None else f", invoiced ${invoiced}"
            yield f"{number} {name} calls: booked ${getattr(figures, f'{kind}_booked_usd')}{billed}"
    if figures.estimates_not_invoiced is not None and figures.orphaned_calls + figures.failed_calls:
        yield (
            f"of these, booked above the invoice: ${figures.estimates_over_usd} (not billed at all: "
            f"{figures.estimates_not_invoiced} calls); below it: ${figures.estimates_under_usd}"
        )
    if figures.invoice_usd is None:
        yield "no simulator is known: the provider's invoice is left out (--invoice URL)"


def _mark(equation: Equation) -> Text:
    return Text("✓", style="green") if equation.holds else Text("✗", style="bold red")


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

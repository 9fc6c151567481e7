"""The report for people: short, and only what is not as it should be in full."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.ops.audit.report import Equation, Figures, Finding, Report, Verdict

_COLOURS = {Verdict.BALANCED: "green", Verdict.OPEN: "yellow", Verdict.UNBALANCED: "red"}
_WORDS = {
    Verdict.BALANCED: "balanced",
    Verdict.OPEN: "nothing is wrong so far, but something is still under way",
    Verdict.UNBALANCED: "does not balance",
}
_STATES = ("answered", "cached", "degraded", "blocked", "failed", "cancelled", "open", "missing")


def render(report: Report, *, details: bool) -> RenderableType:
    """Return what `headrace audit` prints.

    Args:
        report: the report.
        details: whether to say how fresh each part is even if all is well.
    """
    parts: list[RenderableType] = [
        Text(f"requests of {report.since} to {report.until}", style="dim"),
        _states(report.figures),
        _figures(report.figures),
        Text(),
        _equations(report.equations),
    ]
    for finding in report.findings:
        parts += [Text(), _finding(finding)]
    if details or report.verdict is not Verdict.BALANCED:
        parts += [Text(), _parts(report)]
    verdict = Text(_WORDS[report.verdict], style=f"bold {_COLOURS[report.verdict]}")
    return Group(*parts, Text(), verdict + Text(f"  ({report.took_s:g} s)", style="dim"))


def show(report: Report, console: Console, *, details: bool = False) -> None:
    """Print the report."""
    console.print(render(report, details=details))


def _states(figures: Figures) -> Text:
    states = [f"{getattr(figures, name)} {name}" for name in _STATES if getattr(figures, name)]
    return Text(f"{figures.accepted} accepted = " + (" + ".join(states) or "0"))


def _figures(figures: Figures) -> Text:
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
    lines = [" · ".join(f"{number} {name}" for number, name in facts if number > 0)]
    lines.append(f"{figures.calls} calls, ${figures.ledger_usd} in the ledger")
    for name, number, booked, invoiced in (
        ("orphaned", figures.orphaned_calls, figures.orphaned_booked_usd, figures.orphaned_invoiced_usd),
        (
            "failed, stopped or estimated",
            figures.failed_calls,
            figures.failed_booked_usd,
            figures.failed_invoiced_usd,
        ),
    ):
        if number:
            billed = "" if invoiced is None else f", invoiced ${invoiced}"
            lines.append(f"{number} {name} calls: booked ${booked}{billed}")
    if figures.estimates_not_invoiced is not None and figures.orphaned_calls + figures.failed_calls:
        lines.append(
            f"of these, booked above the invoice: ${figures.estimates_over_usd} (not billed at all: "
            f"{figures.estimates_not_invoiced} calls); below it: ${figures.estimates_under_usd}"
        )
    if figures.invoice_usd is None:
        lines.append("no simulator is known: the provider's invoice is left out (--invoice URL)")
    return Text("\n".join(line for line in lines if line))


def _equations(equations: tuple[Equation, ...]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    for each in equations:
        mark = Text("✓", style="green") if each.holds else Text("✗", style="bold red")
        table.add_row(mark, Text(each.name), Text(each.left), Text(each.right))
    return table


def _finding(finding: Finding) -> Text:
    mark = Text("✗ ", style="bold red") if finding.breaks else Text("· ", style="yellow")
    more = finding.count - len(finding.ids)
    ids = ", ".join(finding.ids) + (f", and {more} more" if more > 0 else "")
    return mark + Text(f"{finding.count} × {finding.title}\n  {ids}\n") + Text(f"  → {finding.advice}", "dim")


def _parts(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, style="dim")
    table.add_column()
    table.add_column()
    for part in report.parts:
        table.add_row(Text(part.name), Text(part.state))
    return table

"""An erasure's report for people."""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from rich.console import Console

from headrace.ops.privacy.report import ErasureReport, Verdict
from headrace.ops.privacy.user_requests import Kept

_SAYS = {
    Verdict.PLANNED: "Nothing was changed. With --yes instead of --dry-run all of it goes.",
    Verdict.ERASED: "A last look found nothing.",
    Verdict.UNDER_WAY: "Requests of the user are still under way: run it again when they have ended.",
    Verdict.LEFT: "Something is still there: run it again.",
}


def show(report: ErasureReport, console: Console) -> None:
    """Print a report."""
    for line in lines(report):
        console.print(line, markup=False)


def lines(report: ErasureReport) -> Iterator[str]:
    """Yield the lines of a report."""
    planned = report.verdict is Verdict.PLANNED
    yield f"{report.requests} requests of a user of {report.tenant}, accepted until {_time(report.until)}"
    if report.mode == "anonymise" and not planned:
        yield f"their rows now belong to {report.pseudonym}"
    for place in report.places:
        left = "" if planned else f"{place.left:>10} left"
        yield f"  {place.part:<11}{place.name:<20}{place.found:>10} found{left}"
    if report.under_way:
        yield f"  {report.under_way} requests have not ended"
    yield "Kafka keeps its records as they are, and deletes them by itself, at the latest"
    for until, topics in groupby(sorted(report.kept, key=_until), key=_until):
        yield f"  {_time(until)}  {', '.join(each.topic for each in topics)}"
    yield _SAYS[report.verdict]


def _until(kept: Kept) -> datetime:
    return kept.until


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")

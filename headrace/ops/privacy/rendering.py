"""An erasure's report for people."""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from headrace.ops.privacy.report import ErasureReport, ErasureVerdict
from headrace.ops.privacy.user_requests import RetainedTopic

_SAYS = {
    ErasureVerdict.PLANNED: "Nothing was changed. With --yes instead of --dry-run all of it goes.",
    ErasureVerdict.ERASED: "A last look found nothing.",
    ErasureVerdict.UNDER_WAY: "Requests of the user are still under way: run it again when they have ended.",
    ErasureVerdict.LEFT: "Something is still there: run it again.",
}


def lines(report: ErasureReport) -> Iterator[str]:
    """Yield the lines of a report."""
    planned = report.verdict is ErasureVerdict.PLANNED
    yield f"{report.requests} requests of a user of {report.tenant}, accepted until {_time(report.until)}"
    if report.mode == "anonymise" and not planned:
        yield f"their rows now belong to {report.pseudonym}"
    for items in report.places:
        left = "" if planned else f"{items.left:>10} left"
        yield f"  {items.part:<11}{items.name:<20}{items.found:>10} found{left}"
    if report.under_way:
        yield f"  {report.under_way} requests have not ended"
    yield "Kafka keeps its records as they are, and deletes them by itself, at the latest"
    for until, topics in groupby(sorted(report.kept, key=_until), key=_until):
        yield f"  {_time(until)}  {', '.join(each.topic for each in topics)}"
    yield _SAYS[report.verdict]


def _until(kept: RetainedTopic) -> datetime:
    return kept.until


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")

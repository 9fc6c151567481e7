"""What an erasure found, what is left of it, and what stays for a while; also as lines for people."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from itertools import groupby

import msgspec

from headrace.ops.privacy.user_requests import RetainedTopic
from streams.events import ErasureMode


class ErasureVerdict(StrEnum):
    """How an erasure ended."""

    PLANNED = "planned"  # a dry run: nothing was changed
    ERASED = "erased"  # the last look found nothing
    UNDER_WAY = "under way"  # requests of the user have not ended yet: run it again
    LEFT = "left"  # something is still there: run it again


class StoredItems(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of stored data: how many items the first look found, and how many the last one."""

    part: str
    name: str
    found: int
    left: int


class ErasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result. It does not name the user.

    What was accepted until `until` is erased; `kept` is what stays on Kafka until its retention is over.
    """

    tenant: str
    mode: ErasureMode
    pseudonym: str
    until: datetime
    requests: int
    places: tuple[StoredItems, ...]
    under_way: int
    kept: tuple[RetainedTopic, ...]
    verdict: ErasureVerdict


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

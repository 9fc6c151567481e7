"""The figures, as the tables of docs/analytics.md."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from bench.analytics_scale.asking import Timing
from bench.analytics_scale.data import DataSet
from bench.analytics_scale.inserting import InsertRate
from bench.analytics_scale.rollups import RollupFigures


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a table takes on disk."""

    name: str
    stored_rows: int
    stored_bytes: int
    parts: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured.

    Attributes:
        wrong: what is not stored exactly once.
    """

    machine: str
    at: datetime
    data: DataSet
    stored: Sequence[Stored]
    wrong: Sequence[str]
    inserts: InsertRate | None
    rollups: RollupFigures | None
    timings: Sequence[Timing]

    @property
    def failed(self) -> bool:
        """Whether something is not exact, or too slow."""
        inexact = self.wrong or (self.rollups is not None and self.rollups.wrong)
        return bool(inexact) or any(timing.slow for timing in self.timings)


def shown(report: Report) -> str:
    """Return the report as Markdown."""
    blocks = [f"{report.machine}, {report.at:%Y-%m-%d}: {report.data.requests:,} requests", _tables(report)]
    blocks += [_inserts(report)]
    if report.rollups is not None:
        blocks.append(_rollups(report.rollups))
    blocks.append(_queries(report.timings))
    wrong = [*report.wrong, *(report.rollups.wrong if report.rollups else ())]
    slow = [f"{timing.query} ({timing.since})" for timing in report.timings if timing.slow]
    blocks.append(f"not exact: {'; '.join(wrong) or 'nothing'}\ntoo slow: {', '.join(slow) or 'none'}")
    return "\n\n".join(blocks)


def _tables(report: Report) -> str:
    lines = ["| table | rows | parts | MiB | bytes a request |", "|---|---|---|---|---|"]
    for table in report.stored:
        mib, each = table.stored_bytes / 1024**2, table.stored_bytes / report.data.requests
        lines.append(f"| {table.name} | {table.stored_rows:,} | {table.parts} | {mib:,.1f} | {each:,.1f} |")
    total = sum(table.stored_bytes for table in report.stored)
    lines.append(f"| all | | | {total / 1024**2:,.1f} | {total / report.data.requests:,.1f} |")
    return "\n".join(lines)


def _inserts(report: Report) -> str:
    lines = ["| inserts | rows | rows/s |", "|---|---|---|"]
    rate = report.inserts
    if rate is not None:
        lines.append(
            f"| the sink's writer, decoding and all | {rate.rows:,} | {rate.rows / rate.seconds:,.0f} |"
        )
        lines.append(f"| its inserts alone | {rate.rows:,} | {rate.rows / rate.insert_seconds:,.0f} |")
    for table, (rows, seconds) in report.data.inserted.items():
        lines.append(f"| INSERT … SELECT, {table} | {rows:,} | {rows / seconds:,.0f} |")
    return "\n".join(lines)


def _rollups(figures: RollupFigures) -> str:
    lines = ["| rollup | seconds a day |", "|---|---|"]
    lines += [f"| {name} | {seconds:.2f} |" for name, seconds in figures.day_seconds.items()]
    lines.append(f"| all | {sum(figures.day_seconds.values()):.2f} |")
    lines.append(f"| nothing is due, a new process | {figures.look_seconds:.2f} |")
    lines.append(f"| nothing is due, afterwards | {figures.idle_seconds:.3f} |")
    return "\n".join(lines)


def _queries(timings: Sequence[Timing]) -> str:
    lines = ["| query | range | p50 ms | p95 ms | answer KiB |", "|---|---|---|---|---|"]
    for timing in timings:
        size = timing.answer_bytes / 1024
        figures = f"{timing.p50_ms:,.0f} | {timing.p95_ms:,.0f} | {size:,.1f}"
        lines.append(f"| {timing.query} | {timing.since} | {figures} |")
    return "\n".join(lines)

"""The windows that are judged, and the figures of each from ClickHouse.

A request belongs to the window in which it *finished*: that is when its figures are complete, and nothing of
a window is missing once the log records written until its end are stored. Windows are aligned to the
epoch, so that every process cuts time at the same places.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files

import msgspec

from analytics.clickhouse import ClickHouse, instant
from streams.times import EPOCH

#: The name under which all tenants together go. No tenant has it: names are not empty.
EVERYBODY = ""

_MOST_TENANTS = 1_000
_BEGIN = "{since_$n:DateTime64(6, 'UTC')}"
#: Which rows a window needs: their time of acceptance is what lets ClickHouse skip data.
_RANGE = (
    "(accepted_at >= {since_$n:DateTime64(6, 'UTC')} - INTERVAL 1 HOUR"
    " AND accepted_at < {until_$n:DateTime64(6, 'UTC')}"
    " AND finished_at >= {since_$n:DateTime64(6, 'UTC')} AND finished_at < {until_$n:DateTime64(6, 'UTC')})"
)
_DAY = timedelta(days=1)
_SATURDAY = 5


class WindowFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of the requests of one window, of one tenant or of all."""

    requests: int = 0
    errors: int = 0
    blocked: int = 0
    cache_lookups: int = 0
    cache_hits: int = 0
    replies: int = 0
    spend_usd: float = 0.0
    p95_ms: float = 0.0


#: The figures of a window by tenant, `EVERYBODY` included.
FiguresByTenant = Mapping[str, WindowFigures]


class AlertWindow(msgspec.Struct, frozen=True):
    """A span of time: from `since`, up to but without `until`."""

    since: datetime
    until: datetime

    @classmethod
    def last_closed(cls, now: datetime, length: timedelta) -> "AlertWindow":
        """Return the newest window that has ended."""
        until = now - (now - EPOCH) % length
        return cls(until - length, until)

    @property
    def next(self) -> "AlertWindow":
        """The window after this one."""
        return AlertWindow(self.until, self.until + (self.until - self.since))

    def earlier(self, windows: int) -> "AlertWindow":
        """Return the window so many before this one."""
        shift = windows * (self.until - self.since)
        return AlertWindow(self.since - shift, self.until - shift)

    def same_on_earlier_days(self, days: int) -> Iterator["AlertWindow"]:
        """Yield the windows at the same time (UTC) of earlier days, on days of the same kind.

        Working days are compared with working days, Saturdays and Sundays with these: traffic differs by
        more than anything that is worth an alert.
        """
        for day in range(1, days + 1):
            since = self.since - day * _DAY
            if (since.weekday() >= _SATURDAY) == (self.since.weekday() >= _SATURDAY):
                yield AlertWindow(since, self.until - day * _DAY)


@dataclass(eq=False)
class WindowReader:
    """Reads the figures of windows."""

    clickhouse: ClickHouse

    async def figures(self, windows: Sequence[AlertWindow]) -> list[FiguresByTenant]:
        """Return the figures of windows, the newest first: of all tenants, and of the thousand largest.

        One statement reads them all: a busy ClickHouse would take longer for one each than a short window.
        """
        parameters: dict[str, object] = {"most": _MOST_TENANTS + 1}
        for number, window in enumerate(windows):
            parameters[f"since_{number}"] = instant(window.since)
            parameters[f"until_{number}"] = instant(window.until)
        begins = ", ".join(_BEGIN.replace("$n", str(number)) for number in range(len(windows)))
        ranges = "\n    OR ".join(_RANGE.replace("$n", str(number)) for number in range(len(windows)))
        sql = _sql("window_figures").replace("$begins", begins).replace("$ranges", ranges)
        found: list[dict[str, WindowFigures]] = [{} for _ in windows]
        for row in await self.clickhouse.query(sql, parameters):
            if row["overall"] or row["tenant"] != EVERYBODY:
                tenant = EVERYBODY if row["overall"] else str(row["tenant"])
                figures = {name: row[name] for name in WindowFigures.__struct_fields__}
                found[row["number"] - 1][tenant] = WindowFigures(**figures)
        return list(found)

    async def newest(self, now: datetime) -> dict[str, datetime]:
        """Return when each table's newest row was written; only tables with rows of the last day."""
        since = now - _DAY
        rows = await self.clickhouse.query(_sql("newest_rows"), {"since": instant(since)})
        newest = {row["name"]: datetime.fromtimestamp(row["newest_us"] / 1e6, UTC) for row in rows}
        return {name: at for name, at in newest.items() if at >= since}


@cache
def _sql(name: str) -> str:
    return (files("analytics.alerts") / f"{name}.sql").read_text("utf-8")

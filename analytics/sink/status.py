"""What the sink says about itself, for `/health` and `/ready`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A dependency that does not answer, since when, and what it said last."""

    since: datetime
    error: str


class Outages:
    """Which dependencies are away. Logged when it begins and when it ends, not at each try.

    Args:
        who: what the names of the log's events begin with.
        clock: the time.
    """

    def __init__(self, who: str, clock: Clock = utc_now) -> None:
        self._event_of_outage, self._event_of_recovery = f"{who}.outage", f"{who}.recovered"
        self._clock = clock
        self.outages: dict[str, Outage] = {}

    def failed(self, dependency: str, error: str) -> None:
        """Note that a dependency did not answer."""
        known = self.outages.get(dependency)
        if known is None:
            log.warning(self._event_of_outage, dependency=dependency, error=error)
        self.outages[dependency] = Outage(since=known.since if known else self._clock(), error=error)

    def recovered(self, dependency: str) -> None:
        """Note that a dependency answered."""
        outage = self.outages.pop(dependency, None)
        if outage is not None:
            lasted = (self._clock() - outage.since).total_seconds()
            log.info(self._event_of_recovery, dependency=dependency, outage_s=round(lasted, 1))


class RollupStatus:
    """How the rollups are doing.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self.last_run_at: datetime | None = None
        self.last_run_s: float | None = None
        self.refreshed = 0
        self.dirty_days: int | None = None
        self.last_error: str | None = None

    def ran(self, *, refreshed: int, dirty_days: int, seconds: float) -> None:
        """Note a run: how many days of rollups it computed, and how many are still out of date."""
        self.last_run_at, self.last_run_s = self._clock(), round(seconds, 3)
        self.refreshed += refreshed
        self.dirty_days = dirty_days
        self.last_error = None

    def failed(self, error: str) -> None:
        """Note a run that did not do all it should have done."""
        self.last_error = error

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as `/health` shows it."""
        return {
            "last_run_at": self.last_run_at,
            "last_run_s": self.last_run_s,
            "refreshed": self.refreshed,
            "dirty_days": self.dirty_days,
            "last_error": self.last_error,
        }


class SinkStatus(Outages):
    """Counters and states of one sink. Used from one event loop only.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__("sink", clock)
        self.records = 0
        self.rows = 0
        self.batches = 0
        self.replayed_batches = 0
        self.dead_letters = 0
        self.partitions = 0
        self.lag_records = 0
        self.last_insert_ms: float | None = None
        self.last_commit_at: datetime | None = None
        self.last_error: str | None = None
        self.last_error_at: datetime | None = None
        self._schema = asyncio.Event()
        self.joined = False
        self.polled_at = clock()
        self.oldest_waiting_at: datetime | None = None
        self.rollups = RollupStatus(clock)

    @property
    def schema_ready(self) -> bool:
        """Whether the schema is what the migrations say."""
        return self._schema.is_set()

    @schema_ready.setter
    def schema_ready(self, ready: bool) -> None:
        if ready:
            self._schema.set()
        else:
            self._schema.clear()

    async def schema_applied(self) -> None:
        """Return once the schema is what the migrations say."""
        await self._schema.wait()

    @property
    def ready(self) -> bool:
        """Whether records are being stored: the schema is there, the group joined, nothing is away."""
        return self.schema_ready and self.joined and not self.outages

    @property
    def behind_s(self) -> float:
        """The age of the oldest record that was read and is not stored yet, in seconds."""
        if self.oldest_waiting_at is None:
            return 0.0
        return max((self._clock() - self.oldest_waiting_at).total_seconds(), 0.0)

    @property
    def idle_s(self) -> float:
        """How long ago the sink last asked for records, in seconds."""
        return (self._clock() - self.polled_at).total_seconds()

    def polled(self) -> None:
        """Note that the sink's loop is alive."""
        self.polled_at = self._clock()

    def failed(self, dependency: str, error: str) -> None:
        """Note that a dependency did not answer, and keep the error as the last one."""
        super().failed(dependency, error)
        self.last_error, self.last_error_at = error, self._clock()

    def inserted(self, rows: int, seconds: float) -> None:
        """Note an insert that ClickHouse confirmed."""
        self.rows += rows
        self.last_insert_ms = round(seconds * 1000, 1)

    def stored(self, records: int, *, replayed: bool) -> None:
        """Note a batch whose offsets are committed."""
        self.records += records
        self.batches += 1
        self.replayed_batches += replayed
        self.last_commit_at = self._clock()

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as `/health` shows it."""
        return {
            "joined": self.joined,
            "schema_ready": self.schema_ready,
            "partitions": self.partitions,
            "records": self.records,
            "rows": self.rows,
            "batches": self.batches,
            "replayed_batches": self.replayed_batches,
            "dead_letters": self.dead_letters,
            "lag_records": self.lag_records,
            "behind_s": round(self.behind_s, 3),
            "last_insert_ms": self.last_insert_ms,
            "last_commit_at": self.last_commit_at,
            "last_error": self.last_error,
            "last_error_at": self.last_error_at,
        }

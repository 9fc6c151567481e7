"""What the sink reports about itself, for `/health` and `/ready`; and outages of dependencies."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import structlog

from streams.backoff import Backoff, retry

log = structlog.get_logger(__name__)

T = TypeVar("T")
Clock = Callable[[], datetime]

#: Waits of 0.1 to 0.2 s after the first failure, of 2.5 to 5 s after many.
OUTAGE_BACKOFF = Backoff(first_s=0.15, max_s=3.75, jitter=1 / 3)


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A dependency that does not answer, since when, and its last error."""

    since: datetime
    error: str


class Outages:
    """Which dependencies are down. Logged when an outage begins and when it ends, not at each try."""

    def __init__(self, who: str, clock: Clock = utc_now) -> None:
        self._who = who
        self._clock = clock
        self.outages: dict[str, Outage] = {}

    def event(self, what: str) -> str:
        """Return the name of a log event, such as ``sink.outage``."""
        return f"{self._who}.{what}"

    def failed(self, dependency: str, error: str) -> None:
        """Note that a dependency did not answer."""
        known = self.outages.get(dependency)
        if known is None:
            log.warning(self.event("outage"), dependency=dependency, error=error)
        self.outages[dependency] = Outage(since=known.since if known else self._clock(), error=error)

    def recovered(self, dependency: str) -> None:
        """Note that a dependency answered."""
        outage = self.outages.pop(dependency, None)
        if outage is not None:
            lasted = (self._clock() - outage.since).total_seconds()
            log.info(self.event("recovered"), dependency=dependency, outage_s=round(lasted, 1))

    async def retry(self, dependency: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns, after as many tries as it takes: giving up would lose data.

        Anything but a `TransientFault` is raised.
        """
        answer = await retry(
            call,
            backoff=OUTAGE_BACKOFF,
            on_failure=lambda _failures, fault: self.failed(dependency, str(fault)),
        )
        self.recovered(dependency)
        return answer


class RollupStatus:
    """How the rollups are doing."""

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
        names = ("last_run_at", "last_run_s", "refreshed", "dirty_days", "last_error")
        return {name: getattr(self, name) for name in names}


class ConsumerStatus(Outages):
    """What every consumer counts. Used from one event loop only."""

    def __init__(self, who: str, clock: Clock = utc_now) -> None:
        super().__init__(who, clock)
        self.joined = False
        self.partitions = 0
        self.records = 0
        self.rows = 0
        self.dead_letters = 0
        self.last_insert_ms: float | None = None

    def inserted(self, rows: int, seconds: float) -> None:
        """Note an insert that ClickHouse confirmed."""
        self.rows += rows
        self.last_insert_ms = round(seconds * 1000, 1)

    def assigned(self, partitions: int) -> None:
        """Note what the group has assigned to this member."""
        self.partitions, self.joined = partitions, True
        self.recovered("kafka")
        log.info(self.event("assigned"), partitions=partitions)


class SinkStatus(ConsumerStatus):
    """Counters and states of one sink."""

    _SHOWN = (
        *("joined", "schema_ready", "partitions", "records", "rows", "batches", "replayed_batches"),
        *("dead_letters", "lag_records", "last_insert_ms", "last_commit_at", "last_error", "last_error_at"),
    )

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__("sink", clock)
        self.batches = 0
        self.replayed_batches = 0
        self.lag_records = 0
        self.last_commit_at: datetime | None = None
        self.last_error: str | None = None
        self.last_error_at: datetime | None = None
        self._schema = asyncio.Event()
        self.polled_at = clock()
        self.oldest_waiting_at: datetime | None = None
        self.rollups = RollupStatus(clock)

    @property
    def schema_ready(self) -> bool:
        """Whether every migration is applied."""
        return self._schema.is_set()

    @schema_ready.setter
    def schema_ready(self, ready: bool) -> None:
        if ready:
            self._schema.set()
        else:
            self._schema.clear()

    async def schema_applied(self) -> None:
        """Return once every migration is applied."""
        await self._schema.wait()

    @property
    def ready(self) -> bool:
        """Whether records are being stored: migrations applied, group joined, no outage."""
        return self.schema_ready and self.joined and not self.outages

    @property
    def behind_s(self) -> float:
        """The age of the oldest record that was read and is not stored yet, in seconds."""
        if self.oldest_waiting_at is None:
            return 0.0
        return max((self._clock() - self.oldest_waiting_at).total_seconds(), 0.0)

    @property
    def idle_s(self) -> float:
        """How long ago the sink last polled, in seconds."""
        return (self._clock() - self.polled_at).total_seconds()

    def polled(self) -> None:
        """Note that the sink's loop is alive."""
        self.polled_at = self._clock()

    def failed(self, dependency: str, error: str) -> None:
        """Note that a dependency did not answer, and keep the error as the last one."""
        super().failed(dependency, error)
        self.last_error, self.last_error_at = error, self._clock()

    def stored(self, records: int, *, replayed: bool) -> None:
        """Note a batch whose offsets are committed."""
        self.records += records
        self.batches += 1
        self.replayed_batches += replayed
        self.last_commit_at = self._clock()

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as `/health` shows it."""
        return {**{name: getattr(self, name) for name in self._SHOWN}, "behind_s": round(self.behind_s, 3)}

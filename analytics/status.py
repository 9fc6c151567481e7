"""What the parts of the process report for `/health`, `/ready` and `/metrics`, and how they wait out outages.

Used from one event loop only. A figure is None until it is known.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import structlog

from streams.backoff import Backoff, retry
from streams.events import AlertRaised

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


class ConsumerStatus:
    """What every consumer counts, and which of its dependencies are down."""

    def __init__(self, who: str, clock: Clock = utc_now) -> None:
        self._who = who
        self._clock = clock
        self.outages: dict[str, Outage] = {}
        self.joined = False
        self.partitions = 0
        self.records = 0
        self.rows = 0
        self.dead_letters = 0
        self.last_insert_ms: float | None = None

    def event(self, what: str) -> str:
        """Return the name of a log event, such as ``sink.outage``."""
        return f"{self._who}.{what}"

    def failed(self, dependency: str, error: str) -> None:
        """Note that a dependency did not answer. Logged when an outage begins and ends, not at each try."""
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

    def inserted(self, rows: int, seconds: float) -> None:
        """Note an insert that ClickHouse confirmed."""
        self.rows += rows
        self.last_insert_ms = round(seconds * 1000, 1)

    def assigned(self, partitions: int) -> None:
        """Note what the group has assigned to this member."""
        self.partitions, self.joined = partitions, True
        self.recovered("kafka")
        log.info(self.event("assigned"), partitions=partitions)


@dataclass(kw_only=True)
class RollupStatus:
    """The last run of the rollup refresher, and how many days it has computed in all.

    `dirty_days` are still out of date. `last_error` is None after a run without faults.
    """

    last_run_at: datetime | None = None
    last_run_s: float | None = None
    refreshed: int = 0
    dirty_days: int | None = None
    last_error: str | None = None


class SinkStatus(ConsumerStatus):
    """Counters and states of the sink. `schema` is set once every migration is applied."""

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
        self.schema = asyncio.Event()
        self.polled_at = clock()
        self.oldest_waiting_at: datetime | None = None
        self.rollups = RollupStatus()

    @property
    def schema_ready(self) -> bool:
        """Whether every migration is applied."""
        return self.schema.is_set()

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
        """Return what `/health` shows."""
        return {**{name: getattr(self, name) for name in self._SHOWN}, "behind_s": round(self.behind_s, 3)}


class FeedbackStatus(ConsumerStatus):
    """Counters and states of the feedback consumer."""

    _SHOWN = (
        *("joined", "partitions", "records", "scores", "erased", "dead_letters"),
        *("waiting", "waiting_since"),
    )

    def __init__(self, clock: Clock = utc_now) -> None:
        super().__init__("feedback", clock)
        self.scores = 0
        self.erased = 0
        self.waiting = 0
        self.waiting_since: datetime | None = None

    def pending(self, waiting: int, oldest_at: float | None) -> None:
        """Note how many records are pending, and since when the oldest of them is (Unix seconds)."""
        self.waiting = waiting
        self.waiting_since = None if oldest_at is None else datetime.fromtimestamp(oldest_at, UTC)

    def as_dict(self) -> dict[str, Any]:
        """Return what `/health` shows."""
        return {
            **{name: getattr(self, name) for name in self._SHOWN},
            "outages": {name: outage.error for name, outage in self.outages.items()},
        }


class WatchStatus:
    """Figures of the watcher's last round."""

    def __init__(self) -> None:
        self.watching = False
        self.standing: Sequence[AlertRaised] = ()
        self.sink_lag_records: int | None = None
        self.sink_stale_s: float | None = None
        self.newest_rows: Mapping[str, datetime] = {}
        self.judged_until: datetime | None = None
        self.round_at: datetime | None = None
        self.failed_rounds = 0
        self.raised = 0
        self.resolved = 0

    def standing_counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many alerts stand, by rule and severity; not by tenant, whose number has no bound."""
        counts = Counter((event.rule, event.severity) for event in self.standing)
        return dict(sorted(counts.items()))

    def as_dict(self) -> dict[str, Any]:
        """Return what `/health` shows, which needs no key: no tenant is named."""
        return {
            "watching": self.watching,
            "round_at": self.round_at,
            "judged_until": self.judged_until,
            "failed_rounds": self.failed_rounds,
            "standing": [
                {"rule": rule, "severity": severity, "alerts": count}
                for (rule, severity), count in self.standing_counts().items()
            ],
        }

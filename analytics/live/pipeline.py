"""What the pipeline does now, in parts: a part that cannot be read is null, with its fault beside it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from analytics.cached_reading import CachedReading, SourceReading
from analytics.lags import GroupLag, read_lags
from analytics.live.dead_letters import DeadLetterBacklog, OpenDeadLetters
from analytics.status import Clock, SinkStatus, WatchStatus, utc_now
from streams.kafka.inspector import KafkaInspector
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import RELAY, SINK, STAGES

#: An open page asks every few seconds; all open pages together cost one reading a second.
_FRESH_FOR_S: Final = 1.0
#: Reading the dead letters fetches records; reading the lags does not.
_LETTERS_FRESH_FOR_S: Final = 2.0
_LETTERS_BUDGET_S: Final = 1.5
_KAFKA_TIMEOUT_S: Final = 2.0
#: How long a caller waits for one part.
_PART_TIMEOUT_S: Final = 3.0


@dataclass(eq=False)
class LivePipeline:
    """What the pipeline does now."""

    sink: SinkStatus
    watch: WatchStatus
    lags: CachedReading[Sequence[GroupLag]]
    letters: CachedReading[OpenDeadLetters]
    connections: Sequence[KafkaInspector] = ()
    clock: Clock = utc_now

    async def everything(self) -> dict[str, Any]:
        """Return all parts, of all tenants."""
        lags, letters = await asyncio.gather(self.lags.get(), self.letters.get())
        faults = {
            name: reading.fault
            for name, reading in (("topics", lags), ("in_flight", lags), ("dead_letters", letters))
            if reading.fault is not None
        }
        return {
            "at": self.clock(),
            "topics": lags.value,
            "in_flight": _in_flight(lags.value),
            "dead_letters": letters.value,
            **self._freshness_parts(lags),
            "faults": faults,
        }

    async def freshness(self) -> dict[str, Any]:
        """Return what every tenant may know: how fresh the figures of queries are."""
        return {"at": self.clock(), **self._freshness_parts(await self.lags.get()), "faults": {}}

    async def close(self) -> None:
        """Cancel what is under way, and disconnect."""
        await self.lags.close()
        await self.letters.close()
        for connection in self.connections:
            await connection.close()

    def _freshness_parts(self, lags: SourceReading[Sequence[GroupLag]]) -> dict[str, Any]:
        """Return how far all sinks are (where Kafka does not answer, this process's own), and the rollups."""
        sink, rollups = self.sink, self.sink.rollups
        group = next((each for each in lags.value or () if each.stage == SINK.name), None)
        return {
            "sink": {
                "state": "degraded" if sink.outages else "ok" if sink.ready else "starting",
                "away": sorted(sink.outages),
                "lag": sink.lag_records if group is None else group.lag,
                "oldest_s": round(sink.behind_s, 1) if group is None else group.oldest_s,
                "freshness_s": self._age_s(self.watch.newest_rows.get("requests")),
                "last_commit_at": sink.last_commit_at,
            },
            "rollups": {
                "behind_s": self._age_s(rollups.last_run_at),
                "last_run_at": rollups.last_run_at,
                "last_run_s": rollups.last_run_s,
                "dirty_days": rollups.dirty_days,
                "last_error": rollups.last_error,
            },
        }

    def _age_s(self, at: datetime | None) -> float | None:
        return None if at is None else round((self.clock() - at).total_seconds(), 1)


def _in_flight(lags: Sequence[GroupLag] | None) -> dict[str, int] | None:
    """Return how many requests were accepted and are not settled.

    Each is one record that one stage has not finished. A stage commits its offsets some time after it has
    finished, so the figure is too high rather than too low. Records on the retry topic are counted apart.
    """
    if lags is None:
        return None
    by_stage = {each.stage: each.lag for each in lags}
    return {
        "requests": sum(by_stage.get(spec.name, 0) for spec in STAGES),
        "put_aside": by_stage.get(RELAY.name, 0),
    }


def connected_pipeline(
    bootstrap: str, sink: SinkStatus, watch: WatchStatus, auth: RecordAuth
) -> LivePipeline:
    """Return the live pipeline; it connects when it is first asked."""
    # A connection each: a slow look at the dead letters does not delay the lags.
    lags, letters = (
        KafkaInspector(bootstrap, client_id=f"headrace.live.{name}", timeout_s=_KAFKA_TIMEOUT_S)
        for name in ("lags", "dead-letters")
    )
    backlog = DeadLetterBacklog(letters, budget_s=_LETTERS_BUDGET_S, auth=auth)
    return LivePipeline(
        sink,
        watch,
        lags=CachedReading(
            "lags",
            lambda: read_lags(lags, now=utc_now()),
            fresh_for_s=_FRESH_FOR_S,
            timeout_s=_PART_TIMEOUT_S,
        ),
        letters=CachedReading(
            "dead_letters", backlog.look, fresh_for_s=_LETTERS_FRESH_FOR_S, timeout_s=_PART_TIMEOUT_S
        ),
        connections=(lags, letters),
    )

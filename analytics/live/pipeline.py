"""The pipeline now, in parts: one that cannot be read is null and says why, the others are there."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from analytics.alerts.status import WatchStatus
from analytics.cached_reading import Reading, Shared
from analytics.kafka_questions import KafkaQuestions
from analytics.live.dead_letters import DeadLetterWatch, Waiting
from analytics.live.lags import IN_FLIGHT, RETRYING, SINK, GroupLag, read_lags
from analytics.sink.status import Clock, SinkStatus, utc_now
from streams.kafka.record_auth import RecordAuth

#: An open page asks every few seconds; all of them together cost one reading a second.
_FRESH_FOR_S: Final = 1.0
#: A look at the dead letters reads records, a look at the lags does not.
_LETTERS_FRESH_FOR_S: Final = 2.0
_LETTERS_BUDGET_S: Final = 1.5
_QUESTION_TIMEOUT_S: Final = 2.0
#: What one who asks waits for a part at most.
_PART_TIMEOUT_S: Final = 3.0


class LivePipeline:
    """What the pipeline does now.

    Args:
        sink: what this process's sink says about itself.
        watch: what the watcher has seen.
        lags: how far the groups are.
        letters: the dead letters.
        connections: what to close in the end.
        clock: the time.
    """

    def __init__(
        self,
        sink: SinkStatus,
        watch: WatchStatus,
        *,
        lags: Shared[Sequence[GroupLag]],
        letters: Shared[Waiting],
        connections: Sequence[KafkaQuestions] = (),
        clock: Clock = utc_now,
    ) -> None:
        self._sink = sink
        self._watch = watch
        self._lags = lags
        self._letters = letters
        self._connections = connections
        self._clock = clock

    async def everything(self) -> dict[str, Any]:
        """Return all parts, of all tenants."""
        lags, letters = await asyncio.gather(self._lags.get(), self._letters.get())
        faults = {
            name: reading.fault
            for name, reading in (("topics", lags), ("in_flight", lags), ("dead_letters", letters))
            if reading.fault is not None
        }
        return {
            "at": self._clock(),
            "topics": lags.value,
            "in_flight": _in_flight(lags.value),
            "dead_letters": letters.value,
            **self._own(lags),
            "faults": faults,
        }

    async def freshness(self) -> dict[str, Any]:
        """Return what everybody may know: how fresh the figures are that queries give."""
        return {"at": self._clock(), **self._own(await self._lags.get()), "faults": {}}

    async def close(self) -> None:
        """End what is under way, and disconnect."""
        await self._lags.close()
        await self._letters.close()
        for connection in self._connections:
            await connection.close()

    def _own(self, lags: Reading[Sequence[GroupLag]]) -> dict[str, Any]:
        return {"sink": self._sink_part(lags.value), "rollups": self._rollups_part()}

    def _sink_part(self, lags: Sequence[GroupLag] | None) -> Mapping[str, Any]:
        """Tell how far the sinks are, all of them; where Kafka does not say it, this process's own."""
        group = next((each for each in lags or () if each.stage == SINK), None)
        newest = self._watch.newest_rows.get("requests")
        return {
            "state": "degraded" if self._sink.outages else "ok" if self._sink.ready else "starting",
            "away": sorted(self._sink.outages),
            "lag": self._sink.lag_records if group is None else group.lag,
            "oldest_s": round(self._sink.behind_s, 1) if group is None else group.oldest_s,
            "freshness_s": None if newest is None else round((self._clock() - newest).total_seconds(), 1),
            "last_commit_at": self._sink.last_commit_at,
        }

    def _rollups_part(self) -> Mapping[str, Any]:
        rollups = self._sink.rollups
        at = rollups.last_run_at
        return {
            "behind_s": None if at is None else round((self._clock() - at).total_seconds(), 1),
            "last_run_at": at,
            "last_run_s": rollups.last_run_s,
            "dirty_days": rollups.dirty_days,
            "last_error": rollups.last_error,
        }


def _in_flight(lags: Sequence[GroupLag] | None) -> dict[str, int] | None:
    """Return how many requests were accepted and are not settled.

    Each is one record that one stage has not finished. A stage commits its offsets some time after it has
    finished, so this is rather too many than too few. What was put aside for later is counted beside.
    """
    if lags is None:
        return None
    by_stage = {each.stage: each.lag for each in lags}
    return {
        "requests": sum(by_stage.get(stage, 0) for stage in IN_FLIGHT),
        "put_aside": by_stage.get(RETRYING, 0),
    }


def connected_pipeline(
    bootstrap: str, sink: SinkStatus, watch: WatchStatus, auth: RecordAuth
) -> LivePipeline:
    """Return it; nothing is connected before somebody asks.

    Args:
        bootstrap: host:port of the brokers, separated by commas.
        sink: what this process's sink says about itself.
        watch: what the watcher has seen.
        auth: tells which records Headrace wrote.
    """
    # A connection each: a slow look at the dead letters holds up no other.
    asking, reading = (
        KafkaQuestions(bootstrap, client_id=f"headrace.live.{name}", timeout_s=_QUESTION_TIMEOUT_S)
        for name in ("lags", "dead-letters")
    )
    letters = DeadLetterWatch(reading, budget_s=_LETTERS_BUDGET_S, auth=auth)
    return LivePipeline(
        sink,
        watch,
        lags=Shared(
            "lags",
            lambda: read_lags(asking, now=utc_now()),
            fresh_for_s=_FRESH_FOR_S,
            timeout_s=_PART_TIMEOUT_S,
        ),
        letters=Shared(
            "dead_letters", letters.look, fresh_for_s=_LETTERS_FRESH_FOR_S, timeout_s=_PART_TIMEOUT_S
        ),
        connections=(asking, reading),
    )

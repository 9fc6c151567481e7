"""`/v1/analytics/live`: the pipeline as it is now, with lags, requests in flight and open dead letters.

A part that cannot be read is null, with its fault beside it. Dead letters are open while nobody has done
anything with them, as `headrace dlq list` counts them; both of their topics are followed: what was read once
is not read again, so that a look costs what is new.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord, TopicPartition
from fastapi import APIRouter
from starlette.responses import Response

from analytics.api.dependencies import TenantScopeDep
from analytics.api.health import CachedReading, SourceReading
from analytics.lags import GroupLag, read_lags
from analytics.status import Clock, SinkStatus, WatchStatus, utc_now
from streams.codec import header
from streams.events import DeadLetterAction
from streams.kafka.inspector import KafkaInspector
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import RELAY, SINK, STAGES
from streams.redelivery import own_event
from streams.serving.responses import JsonResponse
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS

_STAGE_HEADER: Final = "__streams.errors.stage"
_MAX_STAGE_CHARS: Final = 64
#: Letters that are remembered one by one, with some hundred bytes each; more are counted without their stage.
_MOST_LETTERS: Final = 100_000


class StageCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters of a stage wait; `stage` is empty where none is named."""

    stage: str
    waiting: int


class OpenDeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for an operator.

    `on_topic` counts all letters that are still kept. While the topics are read for the first time `complete`
    is False: letters that were acted on may still count, and not all stages are known.
    """

    waiting: int
    on_topic: int
    by_stage: tuple[StageCount, ...]
    complete: bool


@dataclass(eq=False)
class DeadLetterBacklog:
    """Follows the dead letters and what operators do with them.

    One look reads for at most `budget_s`; the next one goes on from there. More than `most_letters` are
    counted without their stage. Actions that Headrace did not write count for nothing.
    """

    kafka: KafkaInspector
    budget_s: float
    auth: RecordAuth = UNSIGNED
    most_letters: int = _MOST_LETTERS
    letters: str = DEAD_LETTERS.name
    actions: str = DEAD_LETTER_ACTIONS.name
    clock: Callable[[], float] = time.monotonic
    _positions: dict[TopicPartition, int] = field(default_factory=dict, init=False)
    _stages: dict[tuple[int, int], str] = field(default_factory=dict, init=False)
    _done: set[tuple[int, int]] = field(default_factory=set, init=False)

    async def look(self) -> OpenDeadLetters:
        """Read what is new and return what waits."""
        partitions = await self.kafka.partitions((self.letters, self.actions))
        begins = await self.kafka.beginning_offsets(partitions)
        ends = await self.kafka.end_offsets(partitions)
        complete = await self._catch_up(begins, ends)
        kept = {
            each.partition: range(begins[each], ends[each])
            for each in partitions
            if each.topic == self.letters
        }
        self._forget(kept)
        on_topic = sum(map(len, kept.values()))
        counts = Counter(stage for place, stage in self._stages.items() if place not in self._done)
        return OpenDeadLetters(
            waiting=on_topic - len(self._done),
            on_topic=on_topic,
            by_stage=tuple(StageCount(stage=stage, waiting=count) for stage, count in counts.most_common()),
            complete=complete,
        )

    async def _catch_up(
        self, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> bool:
        self._positions = {each: max(self._positions.get(each, 0), begin) for each, begin in begins.items()}
        stop_at = self.clock() + self.budget_s
        while True:
            left = {each: at for each, at in self._positions.items() if at < ends[each]}
            if not left:
                return True
            if self.clock() >= stop_at:
                return False
            records, positions = await self.kafka.read(left)
            for found in records.values():
                for record in found:
                    self._take(record)
            self._positions |= positions

    def _take(self, record: ConsumerRecord) -> None:
        if record.topic == self.letters:
            if len(self._stages) < self.most_letters:
                stage = (header(record.headers, _STAGE_HEADER) or b"").decode("utf-8", "replace")
                self._stages[record.partition, record.offset] = stage[:_MAX_STAGE_CHARS]
            return
        action = own_event(record, DeadLetterAction, self.auth, reader="live", level=logging.INFO)
        if action is not None:
            partition, _, offset = action.dead_letter.partition(":")
            with suppress(ValueError):  # it names no dead letter
                self._done.add((int(partition), int(offset)))

    def _forget(self, kept: Mapping[int, range]) -> None:
        """Drop what is known of letters that are not there (any more): anybody may have named such."""
        self._stages = {at: stage for at, stage in self._stages.items() if at[1] in kept.get(at[0], ())}
        self._done = {at for at in self._done if at[1] in kept.get(at[0], ())}


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


def live_router(pipeline: LivePipeline) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["analytics"])

    @router.get("/v1/analytics/live")
    async def live(scope: TenantScopeDep) -> Response:
        """Return how far each stage is, what is in flight, and what waits for an operator.

        The admin's key sees all parts. Lags and dead letters are of all tenants together: a tenant's key sees
        how fresh the figures are that its queries give, and no more.
        """
        found = await (pipeline.everything() if scope.tenant is None else pipeline.freshness())
        return JsonResponse(found, headers={"Cache-Control": "private, no-store"})

    return router

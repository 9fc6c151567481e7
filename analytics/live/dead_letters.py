"""Dead letters that nobody has done anything with yet, as `headrace dlq list` counts them.

Both topics are followed: what was read once is not read again, so that a look costs what is new.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog
from aiokafka import ConsumerRecord, TopicPartition

from streams.codec import decode, header
from streams.errors import UndecodableRecord
from streams.events import DeadLetterAction
from streams.kafka.inspector import KafkaInspector
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.topics import DEAD_LETTER_ACTIONS, DEAD_LETTERS

log = structlog.get_logger(__name__)

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
        """Read on, for as long as the budget lasts; return whether that was all."""
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
                self._stages[record.partition, record.offset] = _stage(record)
            return
        if not self.auth.wrote(record):
            log.info("live.unauthentic_action", partition=record.partition, offset=record.offset)
            return
        try:
            action = decode(record.value, DeadLetterAction, record.headers)
            partition, _, offset = action.dead_letter.partition(":")
            self._done.add((int(partition), int(offset)))
        except (UndecodableRecord, ValueError) as fault:
            log.info("live.no_action", partition=record.partition, offset=record.offset, error=str(fault))

    def _forget(self, kept: Mapping[int, range]) -> None:
        """Drop what is known of letters that are not there (any more): anybody may have named such."""
        self._stages = {at: stage for at, stage in self._stages.items() if at[1] in kept.get(at[0], ())}
        self._done = {at for at in self._done if at[1] in kept.get(at[0], ())}


def _stage(record: ConsumerRecord) -> str:
    value = header(record.headers, _STAGE_HEADER)
    return value.decode("utf-8", "replace")[:_MAX_STAGE_CHARS] if value else ""

"""A record as it was read, and records that come again: put aside for a while, or replayed dead letters.

A record that comes again holds the key, value and headers of the first one, byte for byte, and headers that
say which record that was. It stands for it everywhere: it has the same address, and was written at the same
time. A dead letter has headers that say what went wrong where; if the record is too large for the topic, it
has only the record's place and size.
"""

import logging
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Self

import msgspec
import structlog
from aiokafka import ConsumerRecord

from streams.codec import E, decode, header_text
from streams.errors import UndecodableRecord
from streams.kafka.record_auth import RESERVED_PREFIX, RecordAuth
from streams.publisher import Emit
from streams.times import EPOCH
from streams.topics import DEAD_LETTERS, record_bytes

log = structlog.get_logger(__name__)

_RECORD = "__streams.origin.record"
_TIMESTAMP = "__streams.origin.timestamp"
_ATTEMPT = "__streams.retry.attempt"
_NOT_BEFORE = "__streams.retry.not-before"
_REASON = "__streams.retry.reason"
_NUMBER = "__streams.replay.number"
_AT = "__streams.replay.at"
_WRITTEN = (_RECORD, _TIMESTAMP, _ATTEMPT, _NOT_BEFORE, _REASON, _NUMBER, _AT)
_MAX_REASON_CHARS = 500
#: More replays than any operator asks for. A higher number was not written by Headrace; if it were believed,
#: no genuine replay could ever have the highest number.
_MAX_REPLAYS = 1_000
#: A topic as Kafka allows it, and numbers that fit its own: int32 and int64.
_PLACE = re.compile(r"([A-Za-z0-9._-]{1,249}):(\d{1,10}):(\d{1,18})", re.ASCII)

#: 2200-01-01. A later timestamp is no date of a record; close to the calendar's end sums overflow.
_LATEST_MS = 7_258_118_400_000

Headers = tuple[tuple[str, bytes], ...]


class Redelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a record say about former deliveries; of a first delivery, nothing. Times: Unix ms.

    `record` and `timestamp_ms` are the first record's place and time. `attempt` is how often it has been put
    aside since it was last replayed, and `not_before_ms` when it is to be worked on again. `replay` is how
    often it was replayed from the dead letters, at `replayed_at_ms` the last time: its deadline counts from
    there.
    """

    record: str | None = None
    timestamp_ms: int | None = None
    attempt: int = 0
    not_before_ms: int = 0
    replay: int = 0
    replayed_at_ms: int | None = None

    @property
    def topic(self) -> str | None:
        """The topic of the first record."""
        return self.record.rsplit(":", 2)[0] if self.record else None

    @property
    def partition(self) -> int | None:
        """The partition of the first record."""
        return int(self.record.rsplit(":", 2)[1]) if self.record else None

    def believed_of(self, *, topic: str, timestamp_ms: int) -> "Redelivery":
        """Return what a reader of `topic` may believe of it: anybody may write headers.

        A copy is on the topic of its first record, and is not older than the first record or the replay. So a
        record cannot pass for one of another topic, and no time lies after the record's own, `timestamp_ms`.
        """
        if self.topic != topic:
            return FIRST_DELIVERY
        is_replay = 0 < self.replay <= _MAX_REPLAYS and self.replayed_at_ms is not None
        return msgspec.structs.replace(
            self,
            timestamp_ms=timestamp_ms if self.timestamp_ms is None else min(self.timestamp_ms, timestamp_ms),
            replay=self.replay if is_replay else 0,
            replayed_at_ms=min(self.replayed_at_ms or 0, timestamp_ms) if is_replay else None,
        )


FIRST_DELIVERY = Redelivery()


def redelivery(headers: Iterable[tuple[str, bytes]]) -> Redelivery:
    """Return what a record's headers say. A header that should be a number and is not counts as absent."""
    known = tuple(each for each in headers if each[0].startswith(RESERVED_PREFIX))
    if not known:
        return FIRST_DELIVERY
    return Redelivery(
        record=_record(header_text(known, _RECORD)),
        timestamp_ms=_number(header_text(known, _TIMESTAMP)),
        attempt=_number(header_text(known, _ATTEMPT)) or 0,
        not_before_ms=_number(header_text(known, _NOT_BEFORE)) or 0,
        replay=_number(header_text(known, _NUMBER)) or 0,
        replayed_at_ms=_number(header_text(known, _AT)),
    )


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The Kafka record that carried an event, with its bytes as they came.

    A copy of a record (put aside, or replayed) stands for the first one: `address`, `written_ms` and
    `written_at` are the first record's, and the journal, the registry and ids are built from these. The
    copy's own place is in `topic`, `partition`, `offset` and `timestamp_ms` (Unix ms, by its producer's or
    the broker's clock). See docs/redelivery.md.

    `again` says which former deliveries it stands for; `authentic`, whether Headrace wrote it (see
    `streams.kafka.record_auth`). If not, `headers` lack those that only Headrace writes.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    again: Redelivery = FIRST_DELIVERY
    authentic: bool = True

    @classmethod
    def of(cls, found: ConsumerRecord, auth: RecordAuth) -> Self:
        """Return what a consumer has read as a record, with what its headers say of former deliveries."""
        topic, timestamp_ms = found.topic, found.timestamp
        authentic, believed = auth.read(topic, found.key, found.value, found.headers)
        return cls(
            topic=topic,
            partition=found.partition,
            offset=found.offset,
            timestamp_ms=timestamp_ms,
            key=found.key,
            value=found.value,
            headers=believed,
            again=redelivery(believed).believed_of(topic=topic, timestamp_ms=timestamp_ms),
            authentic=authentic,
        )

    @property
    def place(self) -> str:
        """The record's own place in the log: ``topic:partition:offset``."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    @property
    def address(self) -> str:
        """The place of the first record: the record's identity."""
        return self.again.record or self.place

    @property
    def written_ms(self) -> int:
        """When the first record was written, Unix ms."""
        return self.timestamp_ms if self.again.timestamp_ms is None else self.again.timestamp_ms

    @property
    def written_at(self) -> datetime:
        """When the first record was written; the epoch where its producer's timestamp is no date."""
        return instant(self.written_ms)

    @property
    def arrived_at(self) -> datetime:
        """When this record itself was written: it has waited for the stage since then."""
        return instant(self.timestamp_ms)


def own_event(
    record: ConsumerRecord, event: type[E], auth: RecordAuth, *, reader: str, level: int = logging.WARNING
) -> E | None:
    """Return the event of a record; None where Headrace did not write it, or it is none: the log says so.

    `reader` is who reads, for the log, and `level` how loud that is.
    """
    where = {"reader": reader, "topic": record.topic, "partition": record.partition, "offset": record.offset}
    if not auth.wrote(record):
        log.log(level, "record.unauthentic", **where)
        return None
    try:
        return decode(record.value, event, record.headers)
    except UndecodableRecord as fault:
        log.log(level, "record.undecodable", error=fault.message, **where)
        return None


def instant(at_ms: int) -> datetime:
    """Return the time of a Unix ms, or the epoch where it is no date that a record could have."""
    return EPOCH + timedelta(milliseconds=at_ms) if 0 <= at_ms <= _LATEST_MS else EPOCH


def put_aside(record: Record, *, not_before_ms: int, reason: str) -> Headers:
    """Return the headers of the copy of `record` that waits on the retry topic.

    Redelivery headers of the record that were not believed are dropped: readers would believe them in the
    copy, which names a genuine first record.
    """
    again = record.again
    number = ((_NUMBER, again.replay), (_AT, again.replayed_at_ms or 0)) if again.replay else ()
    return (
        *(each for each in record.headers if each[0] not in _WRITTEN),
        (_RECORD, record.address.encode()),
        (_TIMESTAMP, str(record.written_ms).encode()),
        (_ATTEMPT, str(again.attempt + 1).encode()),
        (_NOT_BEFORE, str(not_before_ms).encode()),
        (_REASON, reason[:_MAX_REASON_CHARS].encode()),
        *((name, str(value).encode()) for name, value in number),
    )


def replayed(headers: Headers, *, record: str, timestamp_ms: int, at_ms: int) -> Headers:
    """Return the headers of the copy that replays a dead letter, from the dead letter's.

    `record` and `timestamp_ms` are place and time of the record that died. Its deadline counts from `at_ms`.
    """
    before = redelivery(headers)
    return (
        *(each for each in headers if not each[0].startswith(RESERVED_PREFIX)),
        (_RECORD, record.encode()),
        (_TIMESTAMP, str(timestamp_ms).encode()),
        (_NUMBER, str(before.replay + 1).encode()),
        (_AT, str(at_ms).encode()),
    )


def _record(text: str | None) -> str | None:
    """Return a record's place if `text` is one: anybody may write headers."""
    return text if text and _PLACE.fullmatch(text) else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= 15 else None


ERROR_PREFIX = "__streams.errors."
#: The size of a record whose bytes are left out.
OMITTED = ERROR_PREFIX + "omitted-bytes"
_MAX_MESSAGE_CHARS = 2_000
#: The largest size of the headers below: a message of four-byte characters, and seven short ones.
_REASON_BYTES = 16 * 1024


def dead_letter(record: Record, *, stage: str, fault: BaseException) -> Emit:
    """Return the dead letter of a record."""
    reason = {
        "exception": type(fault).__name__,
        "message": str(fault)[:_MAX_MESSAGE_CHARS],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
        "stage": stage,
    }
    why = tuple((ERROR_PREFIX + name, text.encode("utf-8", "replace")) for name, text in reason.items())
    size = record_bytes(record.key, record.value, record.headers)
    if size + _REASON_BYTES > DEAD_LETTERS.max_bytes:
        omitted = (*why, (OMITTED, str(size).encode()))
        return Emit(topic=DEAD_LETTERS.name, key=None, value=None, headers=omitted)
    return Emit(topic=DEAD_LETTERS.name, key=record.key, value=record.value, headers=(*record.headers, *why))

"""The shape of a stage: a record comes in as a delivery, and the records to send go out."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

import msgspec

from streams.events import Event
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.pipeline import StageSpec
from streams.publisher import Emit
from streams.redelivery import FIRST_DELIVERY, Headers, Redelivery, redelivery

E = TypeVar("E", bound=Event)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: 2200-01-01. A later timestamp is no date of a record; close to the calendar's end sums overflow.
_LATEST_MS = 7_258_118_400_000


class Superseded(Exception):  # nothing is wrong: it ends this delivery
    """Another delivery of the record, perhaps in another process, has taken the work over.

    This one ends, and is not acknowledged: if the other process dies, the record must be delivered again.
    """


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The Kafka record that carried an event, with its bytes as they came.

    A copy of a record (put aside, or replayed) stands for the first one: `address`, `written_ms` and
    `written_at` are the first record's, and the journal, the registry and ids are built from these. The
    copy's own place is in `topic`, `partition`, `offset` and `timestamp_ms`. See docs/redelivery.md.

    Attributes:
        topic: where it was read; so are `partition` and `offset`.
        timestamp_ms: when it was written, by its producer's or the broker's clock, Unix ms.
        headers: of a record that is not authentic, without those that only Headrace writes.
        again: which former deliveries it stands for.
        authentic: whether Headrace wrote it; see `streams.kafka.record_auth`.
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
    def read(
        cls,
        *,
        topic: str,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes | None]],
        auth: RecordAuth = UNSIGNED,
    ) -> Self:
        """Return a record as it was read, with what its headers say of former deliveries."""
        authentic, believed = auth.read(topic, key, value, headers)
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=key,
            value=value,
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


def instant(at_ms: int) -> datetime:
    """Return the time of a Unix ms, or the epoch where it is no date that a record could have."""
    return _EPOCH + timedelta(milliseconds=at_ms) if 0 <= at_ms <= _LATEST_MS else _EPOCH


class Delivery(msgspec.Struct, Generic[E], frozen=True, kw_only=True):
    """An event, and the record it came in. The same record may be delivered more than once."""

    event: E
    record: Record


class Stage(Protocol[E]):
    """A step of the pipeline: it reads one topic and returns what is to be sent.

    The runner does the rest: consumption, acknowledgement, retries, dead letters, sends, and the stage's
    entry in the envelope's `timings`.
    """

    @property
    def spec(self) -> StageSpec:
        """Its row in `streams.pipeline`: its name, the topic it reads, the topic it hands on to."""
        ...

    async def handle(self, delivery: Delivery[E]) -> Sequence[Emit]:
        """Return the records that follow from the event; none where it needs nothing more, e.g. a repeat.

        It may be called again for the same record, after a crash or for a copy from the retry topic, and must
        do no harm then. By that time other records of the key may have overtaken it.

        Raises:
            TransientFault: try again later.
            InputError: dead-letter the record and tell its sender.
            Superseded: another delivery does the work.
        """
        ...

    async def delivered(self, delivery: Delivery[E]) -> None:
        """Take note that the broker has every record that `handle` returned."""
        ...


@runtime_checkable
class Salvages(Protocol):
    """A stage that spends money: when it fails, what was spent must still be booked."""

    async def salvage(self, delivery: Delivery[E], fault: BaseException) -> E:
        """Return the event of a delivery that `handle` could not bring to an end, with the calls made for it.

        Args:
            delivery: the very one that `handle` was given.
            fault: why it could not.
        """
        ...

"""The one shape that every stage has."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

import msgspec

from streams.events import Event
from streams.publisher import Emit
from streams.topics import Topic

E = TypeVar("E", bound=Event)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The Kafka record that carried an event, with its bytes as they came."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def address(self) -> str:
        """The record's place in the log: ``topic:partition:offset``."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    @property
    def written_at(self) -> datetime:
        """When the record was written, by its producer's or the broker's clock.

        A timestamp that is no date at all (producers choose it) counts as the epoch.
        """
        try:
            return _EPOCH + timedelta(milliseconds=self.timestamp_ms)
        except OverflowError:
            return _EPOCH


class Delivery(msgspec.Struct, Generic[E], frozen=True, kw_only=True):
    """An event, and the record it came in. The same record may be delivered more than once."""

    event: E
    record: Record


class Stage(Protocol[E]):
    """A step of the pipeline: it reads one topic and says what is to be sent.

    The runner owns everything around it: consumption, acknowledgement, retries of transient faults inside
    the deadline, dead letters, the sends, and the stage's entry in the envelope's `timings`.
    """

    name: str
    source: Topic

    async def handle(self, delivery: Delivery[E]) -> Sequence[Emit]:
        """Return the records that follow from the event.

        None means that the event needs nothing more, e.g. as a repeat. Called again for the same
        record after a crash, it must do no harm.

        Raises:
            TransientFault: try again later.
            InputError: dead-letter the record and tell its sender.
        """
        ...

    async def delivered(self, delivery: Delivery[E]) -> None:
        """Take note that the broker has every record that `handle` returned."""
        ...

"""The shape of a stage: a record comes in as a delivery, and the records to send go out."""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from streams.events import Event
from streams.pipeline import StageSpec
from streams.publisher import Emit
from streams.redelivery import Record, instant

__all__ = ["Delivery", "Record", "Stage", "Superseded", "instant"]

E = TypeVar("E", bound=Event)


class Superseded(Exception):  # nothing is wrong: it ends this delivery
    """Another delivery of the record, perhaps in another process, has taken the work over.

    This one ends, and is not acknowledged: if the other process dies, the record must be delivered again.
    """


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
class RecoversCalls(Protocol):
    """A stage that spends money: when it fails, what was spent must still be booked."""

    async def recover_calls(self, delivery: Delivery[E], fault: BaseException) -> E:
        """Return the event of a delivery that `handle` could not bring to an end, with the calls made for it.

        `delivery` is the very one that `handle` was given, and `fault` is why it could not.
        """
        ...

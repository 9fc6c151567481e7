"""Applies erasures to records that are being stored: before the write and after it.

A log record may arrive long after its user was erased: redelivered, replayed from a dead letter, or read
again from the topic's beginning into a new database. It is stored as if it had been there at the erasure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser
from analytics.status import ConsumerStatus
from streams.erasure import ErasureFeed, ErasureList, Subject
from streams.events import Erasure, RequestLog

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Anonymiser:
    """Applies a list of erasures to the log records of one batch, and remembers their users."""

    erasures: ErasureList
    _found: dict[Subject, Erasure | None] = field(default_factory=dict, init=False)

    @property
    def subjects(self) -> frozenset[Subject]:
        """The users of the records that it was given."""
        return frozenset(self._found)

    def apply(self, record: RequestLog) -> tuple[RequestLog | None, Erasure | None]:
        """Return the record that may be stored (None: none of it), and the erasure that has changed it.

        An erasure covers requests that were accepted before it was ordered. Of an anonymised one cost and
        outcome stay. A session groups one user's requests, and an error's message may quote the user: its
        code says what went wrong. `analytics.erasure.row_eraser` changes the same columns of stored rows.
        """
        subject = Subject(record.tenant, record.user_id)
        if subject not in self._found:
            self._found[subject] = self.erasures.find(subject)
        erasure = self._found[subject]
        naive = record.accepted_at.tzinfo is None  # `rows_of` refuses it
        if erasure is None or naive or record.accepted_at > erasure.until:
            return record, None
        if erasure.mode == "delete":
            return None, erasure
        anonymised = msgspec.structs.replace(
            record,
            user_id=erasure.pseudonym,
            session_id="",
            error=None if record.error is None else record.error_code,
            payload=None,
        )
        return anonymised, erasure


@dataclass(eq=False)
class LateRowErasure:
    """Reads who is erased, and erases rows of such users that were stored all the same.

    It waits out outages of Kafka and ClickHouse. `erasures` is None where nobody is to be erased: in tests
    and benchmarks.
    """

    clickhouse: ClickHouse
    erasures: ErasureFeed | None
    status: ConsumerStatus

    async def current(self) -> ErasureList:
        """Return the list of erasures as of now."""
        if self.erasures is None:
            return ErasureList()
        return await self.status.retry("kafka", self.erasures.current)

    async def after_writing(self, subjects: Iterable[Subject]) -> None:
        """Erase rows under these users' own names that an erasure covers.

        An erasure that was ordered during the write may have looked for rows before they were there. And the
        rows may have been written once before, by a process that did not know of the erasure yet.
        """
        erasures = await self.current()
        waiting = {subject: found for subject in subjects if (found := _named(erasures, subject)) is not None}
        if waiting:
            await self.status.retry("clickhouse", partial(self._erase, waiting))

    async def _erase(self, waiting: Mapping[Subject, Erasure]) -> None:
        eraser = RowEraser(self.clickhouse)
        if not await eraser.any_rows(waiting):
            return
        for subject, erasure in waiting.items():
            if any((await eraser.count(subject, erasure)).values()):
                await eraser.erase(subject, erasure)
                log.info("sink.erased", tenant=subject.tenant, pseudonym=erasure.pseudonym)


def _named(erasures: ErasureList, subject: Subject) -> Erasure | None:
    """Return the erasure that leaves no rows under this name.

    A pseudonym stays where it was given, unless its user's rows are to be deleted altogether.
    """
    found, behind = erasures.find(subject), erasures.behind(subject)
    return found or (behind if behind is not None and behind.mode == "delete" else None)

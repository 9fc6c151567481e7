"""Erasures and everything that stores rows of users: asked before a write, applied after it.

A log record may arrive long after its user was erased: redelivered, replayed from a dead letter, or read
again from the topic's beginning into a new database. It is stored as if it had been there at the erasure.
"""

from collections.abc import Iterable, Mapping
from functools import partial

import msgspec
import structlog

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser
from analytics.status import ConsumerStatus
from streams.erasure.erasures import ErasureList, Subject
from streams.erasure.feed import ErasureFeed
from streams.events import Erasure, RequestLog


class Anonymiser:
    """Applies a list of erasures to the log records of one batch, and remembers their users."""

    def __init__(self, erasures: ErasureList) -> None:
        self._erasures = erasures
        self._found: dict[Subject, Erasure | None] = {}

    @property
    def subjects(self) -> frozenset[Subject]:
        """The users of the records that it was given."""
        return frozenset(self._found)

    def apply(self, log: RequestLog) -> tuple[RequestLog | None, Erasure | None]:
        """Return the record that may be stored (None: none of it), and the erasure that has changed it."""
        subject = Subject(log.tenant, log.user_id)
        if subject not in self._found:
            self._found[subject] = self._erasures.find(subject)
        erasure = self._found[subject]
        if erasure is None or not covers(erasure, log):
            return log, None
        return (None if erasure.mode == "delete" else anonymised(log, erasure)), erasure


def covers(erasure: Erasure, log: RequestLog) -> bool:
    """Whether the request was accepted before its user's erasure was ordered."""
    if log.accepted_at.tzinfo is None:
        return False  # `rows_of` refuses it
    return log.accepted_at <= erasure.until


def anonymised(log: RequestLog, erasure: Erasure) -> RequestLog:
    """Return the record without what points to its user; its cost and outcome stay.

    A session groups one user's requests, and an error's message may quote the user: its code says what went
    wrong. `analytics.erasure.row_eraser` changes the same columns of rows that are stored.
    """
    return msgspec.structs.replace(
        log,
        user_id=erasure.pseudonym,
        session_id="",
        error=None if log.error is None else log.error_code,
        payload=None,
    )


log = structlog.get_logger(__name__)


class LateRowErasure:
    """Reads who is erased, and erases rows of such users that were stored all the same.

    It waits out outages of Kafka and ClickHouse. `erasures` is None where nobody is to be erased: in tests
    and benchmarks.
    """

    def __init__(self, clickhouse: ClickHouse, erasures: ErasureFeed | None, status: ConsumerStatus) -> None:
        self._eraser = RowEraser(clickhouse)
        self._erasures = erasures
        self._status = status

    async def current(self) -> ErasureList:
        """Return the list of erasures as of now."""
        if self._erasures is None:
            return ErasureList()
        return await self._status.retry("kafka", self._erasures.current)

    async def after_writing(self, subjects: Iterable[Subject]) -> None:
        """Erase rows under these users' own names that an erasure covers.

        An erasure that was ordered during the write may have looked for rows before they were there. And the
        rows may have been written once before, by a process that did not know of the erasure yet.
        """
        erasures = await self.current()
        waiting = {subject: found for subject in subjects if (found := _named(erasures, subject)) is not None}
        if waiting:
            await self._status.retry("clickhouse", partial(self._erase, waiting))

    async def _erase(self, waiting: Mapping[Subject, Erasure]) -> None:
        if not await self._eraser.any_rows(waiting):
            return
        for subject, erasure in waiting.items():
            if any((await self._eraser.count(subject, erasure)).values()):
                await self._eraser.erase(subject, erasure)
                log.info("sink.erased", tenant=subject.tenant, pseudonym=erasure.pseudonym)


def _named(erasures: ErasureList, subject: Subject) -> Erasure | None:
    """Return the erasure that leaves no rows under this name.

    A pseudonym stays where it was given, unless its user's rows are to be deleted altogether.
    """
    found = erasures.find(subject)
    if found is None:
        found = erasures.behind(subject)
        return found if found is not None and found.mode == "delete" else None
    return found

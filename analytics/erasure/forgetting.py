"""Erasures and everything that stores rows of users: asked before a write, applied after it."""

from collections.abc import Iterable, Mapping
from functools import partial

import structlog

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser
from analytics.sink.status import Outages
from streams.erasure.erasures import ErasureList, Subject
from streams.erasure.feed import ErasureFeed
from streams.events import Erasure

log = structlog.get_logger(__name__)


class LateRowErasure:
    """Reads who is erased, and erases rows of such users that were stored all the same.

    It waits out outages of Kafka and ClickHouse. `erasures` is None where nobody is to be erased: in tests
    and benchmarks.
    """

    def __init__(self, clickhouse: ClickHouse, erasures: ErasureFeed | None, status: Outages) -> None:
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

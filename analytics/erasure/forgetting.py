"""What everything that stores rows of users does about erasures, before it writes and after."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

import structlog

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser
from analytics.sink.status import Outages
from streams.erasure.erasures import ErasureList, Subject
from streams.events import Erasure

log = structlog.get_logger(__name__)


class ErasureSource(Protocol):
    """Who is to be forgotten: `streams.erasure.feed.ErasureFeed` where it matters."""

    async def current(self) -> ErasureList:
        """Return the list as it is now; raises `KafkaUnavailable` where that is not known."""
        ...


class LateRowErasure:
    """Asks who is to be forgotten, and clears away what was stored of them all the same.

    Args:
        clickhouse: a connection to the database, which may change rows.
        erasures: who is to be forgotten.
        status: where it says what is away. It waits for Kafka and ClickHouse however long they are.
    """

    def __init__(self, clickhouse: ClickHouse, erasures: ErasureSource, status: Outages) -> None:
        self._eraser = RowEraser(clickhouse)
        self._erasures = erasures
        self._status = status

    async def current(self) -> ErasureList:
        """Return who is to be forgotten as of now."""
        return await self._status.retry("kafka", self._erasures.current)

    async def after_writing(self, subjects: Iterable[Subject]) -> None:
        """Erase what is stored under these users' own names and was covered when it was written.

        An erasure that was ordered while rows were being written has perhaps looked for them before they were
        there. And they may have been written once before, by a process that did not know of it yet.
        """
        erasures = await self.current()
        waiting = {subject: found for subject in subjects if (found := _named(erasures, subject)) is not None}
        if waiting:
            erase = partial(self._erase, waiting)
            await self._status.retry("clickhouse", erase)

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

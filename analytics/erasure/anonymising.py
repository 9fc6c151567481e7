"""What an erasure makes of a log record. Pure.

A log record may arrive long after its user was erased: delivered again, read again from the topic's
beginning into a new database, replayed from a dead letter. It has to come out as if it had been there when
the user was erased.
"""

import msgspec

from streams.erasure.erasures import ErasureList, Subject
from streams.events import Erasure, RequestLog


class Anonymiser:
    """Applies a list of erasures to log records, and remembers whose it has seen. For one batch.

    Args:
        erasures: the list.

    Attributes:
        subjects: the users whose records it was given.
    """

    def __init__(self, erasures: ErasureList) -> None:
        self._erasures = erasures
        self._found: dict[Subject, Erasure | None] = {}

    @property
    def subjects(self) -> frozenset[Subject]:
        """The users whose records it was given."""
        return frozenset(self._found)

    def apply(self, log: RequestLog) -> tuple[RequestLog | None, Erasure | None]:
        """Return the record that may be stored (None: none of it), and the erasure that has changed it."""
        subject = Subject(log.tenant, log.user_id)
        if subject in self._found:
            erasure = self._found[subject]
        else:
            erasure = self._found[subject] = self._erasures.find(subject)
        if erasure is None or not covers(erasure, log):
            return log, None
        return (None if erasure.mode == "delete" else anonymised(log, erasure)), erasure


def covers(erasure: Erasure, log: RequestLog) -> bool:
    """Whether the request was accepted before its user's erasure was ordered."""
    if log.accepted_at.tzinfo is None:
        return False  # it is no row anyway: `rows_of` refuses it
    return log.accepted_at <= erasure.until


def anonymised(log: RequestLog, erasure: Erasure) -> RequestLog:
    """Return the record without what points to its user; what it cost, and how it went, stays.

    A session groups one user's requests, and an error's message may quote what the user wrote: its code says
    what went wrong. The same columns are changed in rows that are stored: `analytics.erasure.row_eraser`.
    """
    return msgspec.structs.replace(
        log,
        user_id=erasure.pseudonym,
        session_id="",
        error=None if log.error is None else log.error_code,
        payload=None,
    )

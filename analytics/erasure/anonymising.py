"""What an erasure makes of a log record. Pure.

A log record may arrive long after its user was erased: redelivered, replayed from a dead letter, or read
again from the topic's beginning into a new database. It is stored as if it had been there at the erasure.
"""

import msgspec

from streams.erasure.erasures import ErasureList, Subject
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

"""What was spent on a request that a bug has ended: it was paid for, whoever is at fault."""

from collections.abc import Sequence
from typing import Any

import structlog

from agents.llm.booking import orphaned
from agents.llm.books import PaidWork
from agents.llm.ports import CallJournal
from agents.stores.journal import NotedCalls
from streams.errors import StoreUnavailable
from streams.events import LlmCall

#: What `LlmCall.error` says of a call within which the stage itself failed.
INTERNAL_ERROR = "internal_error"

log = structlog.get_logger(__name__)


async def salvaged_calls(
    request_id: str, *, record: str, work: PaidWork[Any] | None, journal: CallJournal, now: float
) -> Sequence[LlmCall]:
    """Return the calls for a request, by their numbers, and note their ends in the journal.

    What this worker knows of its own calls counts; the journal knows those of former workers. Without the
    journal only the former are found.

    Args:
        request_id: the request.
        record: the record that holds it.
        work: the work so far, if it had begun.
        journal: where the calls were noted.
        now: the time on the monotonic clock.
    """
    calls = {call.attempt: call for call in work.calls} if work else {}
    if work is not None and work.reading is not None:
        calls[work.reading.number] = work.reading.cut_off(INTERNAL_ERROR, now)
    try:
        noted = await journal.calls(request_id, record=record)
        if work is not None:
            for call in calls.values():
                await journal.end_call(work.hold, call)
    except StoreUnavailable as fault:
        log.warning("llm.calls_not_looked_up", request_id=request_id, reason=str(fault))
        noted = NotedCalls()
    known = (*noted.known_calls, *(orphaned(lost) for lost in noted.lost_calls))
    calls = {call.attempt: call for call in known} | calls
    return [calls[number] for number in sorted(calls)]

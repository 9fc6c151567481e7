"""What a replay sends, what a discard records, and when either is refused: decisions without any I/O."""

from datetime import datetime
from typing import Literal

import msgspec

from agents.stage import Record
from headrace.ops.dlq.letters import LetterState, LetterStatus, LetterSummary
from streams import codec
from streams.codec import header
from streams.errors import UnauthenticRecord
from streams.events import DeadLetterAction, LedgerEntry
from streams.kafka.record_auth import RESERVED_PREFIX
from streams.pipeline import PAYING, REPLAYABLE
from streams.publisher import Emit
from streams.redelivery import OMITTED, redelivery, replayed
from streams.topics import DEAD_LETTER_ACTIONS

_SOURCE = "headrace/ops/dlq"


class PlannedReplay(msgspec.Struct, frozen=True, kw_only=True):
    """The record to send, and the number that its reply will carry."""

    emit: Emit
    number: int


def plan_replay(
    dead: Record,
    letter: LetterSummary,
    state: LetterState,
    *,
    force: bool,
    max_replays: int,
    at_ms: int,
    charge: LedgerEntry | None = None,
) -> PlannedReplay | str:
    """Return how a dead letter is replayed, or why it is not.

    The number counts the replays before the record died and those recorded since. A replay that was sent but
    not recorded is therefore sent again under the *same* number, and is known again by it.

    Args:
        dead: the dead letter's record.
        letter: what is known of it.
        state: what was done with it so far.
        force: replay it although something was done with it already.
        max_replays: the highest number a replay may have, forced or not.
        at_ms: now, Unix ms: the new deadline counts from here.
        charge: what its request has cost so far, where that forbids a replay. The charge of this same replay
            does not: sent once more under its number, it calls no model again.
    """
    if state.status is not LetterStatus.OPEN and not force:
        return f"{_already(state)}; --force replays it again"
    number = letter.replay + state.replays + 1
    if number > max_replays:
        return (
            f"replayed {number - 1} times already, and HEADRACE_MAX_REPLAYS is {max_replays}: mend what it "
            "dies of first"
        )
    if (refused := _content_refused(dead, letter)) is not None:
        return refused
    if letter.topic is None or letter.record is None:
        return "its headers do not say where it died: it was not written by Headrace"
    if charge is not None and charge.replay < number and letter.topic in PAYING:
        return (
            f"its request has been charged {charge.amount_usd.normalize():f} USD, and a replay calls a model "
            "again; --pay-again replays it all the same"
        )
    headers = tuple(each for each in dead.headers if not each[0].startswith(RESERVED_PREFIX))
    for _ in range(number):  # each time adds one
        headers = replayed(
            headers,
            record=letter.record,
            timestamp_ms=letter.written_ms if letter.record_ms is None else letter.record_ms,
            at_ms=at_ms,
        )
    emit = Emit(
        topic=letter.topic,
        key=dead.key,
        value=dead.value,
        headers=headers,
        # Copies of one record stay in its partition, where one worker has them one after the other.
        partition=redelivery(headers).partition,
    )
    return PlannedReplay(emit=emit, number=number)


def _content_refused(dead: Record, letter: LetterSummary) -> str | None:
    """Return why the record itself is never replayed, if so."""
    if not dead.authentic:
        return "it was not written by Headrace, but by somebody else who may write to the dead letters"
    if letter.exception == UnauthenticRecord.__name__:
        return "somebody else wrote it to a topic of Headrace's own: a replay would vouch for it"
    if letter.topic is not None and letter.topic not in REPLAYABLE:
        return f"it died on {letter.topic[:100]!r}, which is no topic that Headrace works on"
    if header(dead.headers, OMITTED) is not None:
        return f"it was too large to be kept: it lies at {letter.record} while that topic keeps it"
    if letter.record is not None and dead.key is None and dead.value is None:
        return "it has neither key nor value: there is nothing in it to work on"
    return None


def discard_refused(state: LetterState) -> str | None:
    """Return why a dead letter is not discarded, if so: only open ones are."""
    return None if state.status is LetterStatus.OPEN else _already(state)


def action_emit(
    letter: LetterSummary, action: Literal["replayed", "discarded"], *, by: str, reason: str, at: datetime
) -> Emit:
    """Return the record of an action for the audit trail."""
    event = DeadLetterAction(
        dead_letter=str(letter.letter_id),
        action=action,
        by=by,
        at=at,
        reason=reason,
        request_id=letter.request_id,
        topic=letter.topic,
    )
    event_id = f"{letter.letter_id}:{action}:{at.isoformat()}"
    # The key keeps the actions on one letter in one partition, and so in order.
    return Emit.to(
        DEAD_LETTER_ACTIONS,
        event,
        key=str(letter.letter_id),
        headers=codec.event_headers(event, event_id=event_id, source=_SOURCE, at=at),
    )


def _already(state: LetterState) -> str:
    times = f" {state.replays} times" if state.replays > 1 else ""
    return f"already {state.status.value}{times if state.status is LetterStatus.REPLAYED else ''}"

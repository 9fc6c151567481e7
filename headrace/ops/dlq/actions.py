"""Replays and discards: what they send, when they are refused, and carrying them out one after the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from agents.stage import Record
from headrace.ops.dlq.letters import LetterId, LetterState, LetterStatus, LetterSummary, summary_of
from headrace.ops.dlq.reader import DeadLetterReader
from streams import codec
from streams.codec import header
from streams.errors import TransientFault, UnauthenticRecord, Undeliverable, UnknownTopic
from streams.events import DeadLetterAction, LedgerEntry
from streams.kafka.record_auth import RESERVED_PREFIX
from streams.pipeline import PAYING, REPLAYABLE
from streams.publisher import Emit, Position, Publisher
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

    `force` replays it although something was done with it already; `max_replays` holds all the same. `at_ms`
    is now: the new deadline counts from here. `charge` is what its request has cost, where that forbids a
    replay. The charge of this same replay does not: sent again under its number, it calls no model.
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


_NOT_TRIED = "not tried: Kafka did not answer for the one before"

_Action = Callable[[Record, LetterSummary, LetterState], Awaitable["ActionResult"]]


class ActionOutcome(StrEnum):
    """What came of one dead letter."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"
    WOULD_REPLAY = "would replay"
    WOULD_DISCARD = "would discard"
    REFUSED = "refused"
    MISSING = "missing"
    FAILED = "failed"

    @property
    def good(self) -> bool:
        """Whether it is what was asked for."""
        return self not in (ActionOutcome.REFUSED, ActionOutcome.MISSING, ActionOutcome.FAILED)


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one dead letter. `number` and `sent_to` are those of a replay."""

    letter_id: LetterId
    outcome: ActionOutcome
    detail: str = ""
    letter: LetterSummary | None = None
    number: int | None = None
    sent_to: Position | None = None


@dataclass(frozen=True)
class DeadLetterActions:
    """Carries out an operator's decisions, at most `rate` a second; without a publisher it is a dry run."""

    letters: DeadLetterReader
    publisher: Publisher | None
    _: KW_ONLY
    by: str
    reason: str
    rate: float | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def replay(
        self, ids: Sequence[LetterId], *, force: bool, max_replays: int, pay_again: bool = False
    ) -> AsyncIterator[ActionResult]:
        """Replay dead letters in this order; `pay_again`: also those whose request was charged."""
        charges = dict[str, LedgerEntry]() if pay_again else await self.letters.charges(ids)

        async def one(dead: Record, letter: LetterSummary, state: LetterState) -> ActionResult:
            plan = plan_replay(
                dead,
                letter,
                state,
                force=force,
                max_replays=max_replays,
                charge=charges.get(letter.request_id or ""),
                at_ms=int(self.clock().timestamp() * 1000),
            )
            if isinstance(plan, str):
                return _result(letter, ActionOutcome.REFUSED, plan)
            return await self._send(letter, plan)

        async for result in self._each(ids, one):
            yield result

    async def discard(self, ids: Sequence[LetterId]) -> AsyncIterator[ActionResult]:
        """Record that these letters need nothing more. They stay on their topic until they expire."""

        async def one(_: Record, letter: LetterSummary, state: LetterState) -> ActionResult:
            if (refused := discard_refused(state)) is not None:
                return _result(letter, ActionOutcome.REFUSED, refused)
            if self.publisher is None:
                return _result(letter, ActionOutcome.WOULD_DISCARD)
            await self._record(self.publisher, letter, "discarded")
            return _result(letter, ActionOutcome.DISCARDED)

        async for result in self._each(ids, one):
            yield result

    async def _each(self, ids: Sequence[LetterId], act: _Action) -> AsyncIterator[ActionResult]:
        """Act on each letter once. Once Kafka does not answer, the rest is not tried."""
        once = dict.fromkeys(ids)
        states = await self.letters.states(once.__contains__)
        unavailable, gap_s = False, 0.0
        for letter_id in once:
            if unavailable:
                yield ActionResult(letter_id=letter_id, outcome=ActionOutcome.FAILED, detail=_NOT_TRIED)
                continue
            try:
                found = await self.letters.find(letter_id)
                if found is None:
                    gone = "no such dead letter (any more)"
                    yield ActionResult(letter_id=letter_id, outcome=ActionOutcome.MISSING, detail=gone)
                    continue
                await self.sleep(gap_s)
                gap_s = 1 / self.rate if self.rate else 0.0
                result = await act(found, summary_of(found), states.of(letter_id))
                unavailable = result.outcome is ActionOutcome.FAILED
                yield result
            except (Undeliverable, TransientFault) as fault:
                unavailable = isinstance(fault, TransientFault)
                yield ActionResult(letter_id=letter_id, outcome=ActionOutcome.FAILED, detail=str(fault))

    async def _send(self, letter: LetterSummary, plan: PlannedReplay) -> ActionResult:
        """Send the replay, and record it only once the broker has it.

        A crash between the two leaves the letter open. Replayed again it is sent again, with the same number
        and for the same first record: the registry and the journal have seen that pair, and take it for the
        same work delivered twice. The other order could record a replay that never was.
        """
        if self.publisher is None:
            return _result(letter, ActionOutcome.WOULD_REPLAY, f"to {letter.topic}", number=plan.number)
        try:
            sent = await self.publisher.publish(plan.emit)
        except UnknownTopic:  # the partition of the first record is gone: its key names another
            sent = await self.publisher.publish(msgspec.structs.replace(plan.emit, partition=None))
        outcome, detail = ActionOutcome.REPLAYED, f"to {letter.topic}"
        try:
            await self._record(self.publisher, letter, "replayed")
        except (TransientFault, Undeliverable) as fault:
            outcome = ActionOutcome.FAILED
            detail = f"sent to {sent.topic}, but not recorded ({fault}): replay it again, which does no harm"
        return _result(letter, outcome, detail, number=plan.number, sent_to=sent)

    async def _record(
        self, publisher: Publisher, letter: LetterSummary, action: Literal["replayed", "discarded"]
    ) -> None:
        at = self.clock()
        await publisher.publish(action_emit(letter, action, by=self.by, reason=self.reason, at=at))


def _result(letter: LetterSummary, outcome: ActionOutcome, detail: str = "", **replay: Any) -> ActionResult:
    return ActionResult(letter_id=letter.letter_id, outcome=outcome, detail=detail, letter=letter, **replay)

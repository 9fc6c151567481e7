"""Carries out replays and discards one after the other, and says what came of each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from agents.stage import Record
from headrace.ops.dlq.letters import LetterId, LetterState, LetterSummary, summary_of
from headrace.ops.dlq.reader import DeadLetterReader
from headrace.ops.dlq.replay import PlannedReplay, action_emit, discard_refused, plan_replay
from streams.errors import TransientFault, Undeliverable, UnknownTopic
from streams.events import LedgerEntry
from streams.publisher import Position, Publisher

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
    """Carries out an operator's decisions.

    Without a publisher it is a dry run. `rate` is the maximum of actions a second; None: as fast as they go.
    """

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
        """Replay dead letters in this order. `plan_replay` says which are refused.

        Unless `pay_again` is set, those are refused, too, whose request has been charged.
        """
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

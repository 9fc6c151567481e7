"""Carries out replays and discards one after the other, and says what came of each."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from headrace.ops.dlq.letters import DeadRecord, Letter, Place
from headrace.ops.dlq.replay import Refused, Replay, action_emit, plan_replay, refuse_discard
from headrace.ops.dlq.standing import Standing, Standings
from streams.errors import TransientFault, Undeliverable, UnknownTopic
from streams.events import LedgerEntry
from streams.publisher import Emit, Position

_NOT_TRIED = "not tried: Kafka did not answer for the one before"


class Letters(Protocol):
    """Where dead letters are read."""

    async def find(self, place: Place) -> tuple[DeadRecord, Letter] | None:
        """Return a dead record and what is known of it, if it is there."""
        ...

    async def standings(self, wanted: Callable[[Place], bool]) -> Standings:
        """Return where the wanted letters stand."""
        ...

    async def charges(self, places: Sequence[Place]) -> Mapping[str, LedgerEntry]:
        """Return by request id what letters have cost whose replay calls a model."""
        ...


class Sender(Protocol):
    """What acknowledges each record that it sends."""

    async def publish(self, emit: Emit) -> Position:
        """Send one record and wait until the broker has it."""
        ...


class Outcome(StrEnum):
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
        return self not in (Outcome.REFUSED, Outcome.MISSING, Outcome.FAILED)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one dead letter. `number` and `sent_to` are those of a replay."""

    place: Place
    outcome: Outcome
    detail: str = ""
    letter: Letter | None = None
    number: int | None = None
    sent_to: Position | None = None


class Pace:
    """Keeps a distance between two actions.

    Args:
        per_second: how many actions a second; None for as many as go.
        clock: a monotonic clock, in seconds.
        sleep: how to wait.
    """

    def __init__(
        self,
        per_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gap_s = 1 / per_second if per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._next_at = clock()

    async def turn(self) -> None:
        """Wait until the next action may begin."""
        wait_s = self._next_at - self._clock()
        if wait_s > 0:
            await self._sleep(wait_s)
        self._next_at = max(self._next_at, self._clock()) + self._gap_s


class Desk:
    """Where an operator's decisions are carried out.

    Args:
        letters: where dead letters are read.
        sender: where replays and the audit trail go; None for a dry run, which sends nothing.
        by: who decides.
        reason: why, for the audit trail.
        pace: how fast.
        clock: the time, UTC-aware.
    """

    def __init__(
        self,
        letters: Letters,
        sender: Sender | None,
        *,
        by: str,
        reason: str,
        pace: Pace | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._letters = letters
        self._sender = sender
        self._by = by
        self._reason = reason
        self._pace = pace or Pace(None)
        self._clock = clock

    async def replay(
        self, places: Sequence[Place], *, force: bool, max_replays: int, pay_again: bool = False
    ) -> AsyncIterator[Result]:
        """Replay dead letters in this order; `plan_replay` says which are refused.

        Those whose request has been charged are, unless it may be paid for again; the others are sent.
        """
        charges = {} if pay_again else await self._letters.charges(places)

        async def one(dead: DeadRecord, letter: Letter, standing: Standing) -> Result:
            plan = plan_replay(
                dead,
                letter,
                standing,
                force=force,
                max_replays=max_replays,
                charge=charges.get(letter.request_id or ""),
                at_ms=int(self._clock().timestamp() * 1000),
            )
            if isinstance(plan, Refused):
                return _result(letter, Outcome.REFUSED, plan.reason)
            return await self._send(letter, plan)

        async for result in self._each(places, one):
            yield result

    async def discard(self, places: Sequence[Place]) -> AsyncIterator[Result]:
        """Record that these letters need nothing more; they stay on their topic until they expire."""

        async def one(_: DeadRecord, letter: Letter, standing: Standing) -> Result:
            refused = refuse_discard(standing)
            if refused is not None:
                return _result(letter, Outcome.REFUSED, refused.reason)
            if self._sender is None:
                return _result(letter, Outcome.WOULD_DISCARD)
            await self._record(self._sender, letter, "discarded")
            return _result(letter, Outcome.DISCARDED)

        async for result in self._each(places, one):
            yield result

    async def _each(
        self,
        places: Sequence[Place],
        act: Callable[[DeadRecord, Letter, Standing], Awaitable[Result]],
    ) -> AsyncIterator[Result]:
        """Act on each letter once. Where Kafka does not answer, the rest is left alone."""
        once = dict.fromkeys(places)
        standings = await self._letters.standings(once.__contains__)
        silent = False
        for place in once:
            if silent:
                yield Result(place=place, outcome=Outcome.FAILED, detail=_NOT_TRIED)
                continue
            try:
                found = await self._letters.find(place)
                if found is None:
                    yield Result(
                        place=place, outcome=Outcome.MISSING, detail="no such dead letter (any more)"
                    )
                    continue
                await self._pace.turn()
                result = await act(*found, standings.of(place))
                silent = result.outcome is Outcome.FAILED
                yield result
            except Undeliverable as fault:
                yield Result(place=place, outcome=Outcome.FAILED, detail=str(fault))
            except TransientFault as fault:
                silent = True
                yield Result(place=place, outcome=Outcome.FAILED, detail=str(fault))

    async def _send(self, letter: Letter, plan: Replay) -> Result:
        """Send the replay, and record it only once the broker has it.

        A crash between the two leaves the letter open. Replayed again it is sent again, with the same number
        and for the same first record: the registry and the journal have seen that pair, and take it for the
        same work delivered twice. The other order could record a replay that never was.
        """
        if self._sender is None:
            return _result(letter, Outcome.WOULD_REPLAY, f"to {letter.topic}", number=plan.number)
        sent = await _publish(self._sender, plan.emit)
        try:
            await self._record(self._sender, letter, "replayed")
        except (TransientFault, Undeliverable) as fault:
            return _result(
                letter,
                Outcome.FAILED,
                f"sent to {sent.topic}, but not recorded ({fault}): replay it again, which does no harm",
                number=plan.number,
                sent_to=sent,
            )
        return _result(letter, Outcome.REPLAYED, f"to {letter.topic}", number=plan.number, sent_to=sent)

    async def _record(self, sender: Sender, letter: Letter, action: Literal["replayed", "discarded"]) -> None:
        await sender.publish(action_emit(letter, action, by=self._by, reason=self._reason, at=self._clock()))


async def _publish(sender: Sender, emit: Emit) -> Position:
    """Send a replay to the partition of its first record, or by its key where that is gone."""
    try:
        return await sender.publish(emit)
    except UnknownTopic:
        return await sender.publish(msgspec.structs.replace(emit, partition=None))


def _result(
    letter: Letter,
    outcome: Outcome,
    detail: str = "",
    *,
    number: int | None = None,
    sent_to: Position | None = None,
) -> Result:
    return Result(
        place=letter.place,
        outcome=outcome,
        detail=detail,
        letter=letter,
        number=number,
        sent_to=sent_to,
    )

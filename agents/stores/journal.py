"""The journal of provider calls: who works on a request, what was asked, what came of it.

At least once plus idempotency: a record may be delivered again, and a request may come in several
records, yet its provider is to be asked once. So a worker *claims* the request here before it does anything,
notes each call *before* making it, and stores its result before sending it.

What `claim` answers, and why:

- **No entry**: the caller works on it, as attempt 1.
- **A claim without a result, the same record**: Kafka delivers a record again only when its former
  holder lost it. The caller takes over at once, with the next attempt number. Calls that were begun and
  whose end nobody noted are handed over as lost: the provider may have billed them. The former holder
  may turn out to be alive (a zombie after a rebalance): its attempt number is stale, so it is *fenced*
  at its next step, and sends nothing.
- **A claim without a result, another record** (a repeat from an earlier stage): drop it. The holder's record
  stays uncommitted until it has its outcome, and will come again. That holds only as long as the holder can
  still work: after the request's deadline it can neither begin a call nor wait for one, and its record
  may be gone (dead-lettered while Redis was away, say, and now replayed from there). Then the other
  record takes over, lest the request end without a reply.
- **A result that nobody knows to be sent**, any record: send it, without a call. For the same record that
  is the redelivery after a crash between storing and sending. For another record it costs a repeat at
  worst, which the next stages recognise; dropping it could lose the outcome, where the holder's record
  was dead-lettered because Kafka did not take the result.
- **A result that was sent**: nothing is left to do, for any record of that run or an earlier one. A later
  run, of a dead letter that an operator has replayed, starts anew. The text of the result is forgotten as
  soon as the broker has it, so that the journal's memory is that of what is in flight.

Where Redis has lost its data (its append-only file included), an entry that is missing counts as one's
own: a worker goes on rather than throw away an answer that was paid for. A repeat may then be called again.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
from redis.asyncio import Redis

from agents.stores import journal_scripts as scripts
from agents.stores.journal_entries import (
    AlreadySent,
    BegunCall,
    Cancelled,
    Claim,
    Claimed,
    Fenced,
    Finished,
    HeldElsewhere,
    Hold,
    Look,
    LostCall,
    NotedCalls,
)
from streams.events import LlmCall
from streams.redis.connection import store_faults
from streams.redis.keys import JOURNAL, digest
from streams.registry.registry import request_key

__all__ = [
    "AlreadySent",
    "BegunCall",
    "Cancelled",
    "Claim",
    "Claimed",
    "Fenced",
    "Finished",
    "HeldElsewhere",
    "Hold",
    "Journal",
    "Look",
    "LostCall",
    "NotedCalls",
    "journal_key",
]

_BEGUN = b"begun:"
_ENDED = b"ended:"
#: So many claims are looked up at once: Redis does nothing else for half a millisecond.
_LOOK_BATCH = 200

_Args = list[bytes | str | int]

_encoder = msgspec.json.Encoder(decimal_format="string")


def journal_key(request_id: str) -> str:
    """Return the key of a request's entry in the journal, a hash."""
    return JOURNAL.key(digest(request_id))


class Journal:
    """The journal in Redis; every step is one atomic script.

    Every method raises `StoreUnavailable` where Redis does not answer in time.

    Args:
        redis: the client; its timeouts bound every step.
        ttl_s: how long an entry is kept after its last step, in seconds.
    """

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._ttl_s = ttl_s
        self._claim = redis.register_script(scripts.CLAIM)
        self._begin = redis.register_script(scripts.BEGIN)
        self._end = redis.register_script(scripts.END)
        self._finish = redis.register_script(scripts.FINISH)
        self._sent = redis.register_script(scripts.SENT)
        self._look = redis.register_script(scripts.LOOK)
        self._calls = redis.register_script(scripts.CALLS)

    async def claim(
        self,
        request_id: str,
        *,
        record: str,
        instance: str,
        deadline_at: datetime,
        now: datetime,
        replay: int = 0,
    ) -> Claim:
        """Claim a request, or learn why there is nothing to claim.

        Args:
            request_id: the request.
            record: the record that holds it, as ``topic:partition:offset``.
            instance: who claims it, for operators to read.
            deadline_at: until when the claimant can work on it.
            now: the time.
            replay: which run of the request it is.
        """
        hold = Hold(
            request_id=request_id,
            record=record,
            attempt=0,
            deadline_ms=_milliseconds(deadline_at),
            replay=replay,
        )
        with store_faults("claiming a request in the journal"):
            answer = await self._claim(
                keys=[journal_key(request_id)],
                args=[record, instance, _milliseconds(now), hold.deadline_ms, self._ttl_s, replay],
            )
        return _claim(hold, answer)

    async def begin_call(self, hold: Hold, call: BegunCall, *, after: int = 0) -> int:
        """Note a call that is about to be made.

        Args:
            hold: the claim.
            call: the call.
            after: the number of the caller's last call: the new number is higher.

        Returns:
            The call's number among all calls for the request, by whatever attempt; they count from 1.

        Raises:
            Fenced: a newer attempt works on the request, or it has its reply; do not make the call.
            Cancelled: the request is cancelled; do not make the call.
        """
        args: _Args = [
            hold.record,
            hold.attempt,
            hold.replay,
            _encoder.encode(call),
            after,
            hold.deadline_ms,
            self._ttl_s,
        ]
        with store_faults("noting a call in the journal"):
            answer = await self._begin(keys=_both_keys(hold), args=args)
        match answer:
            case [0]:
                raise Fenced(hold)
            case [-1, bytes(reason)]:
                raise Cancelled(hold, reason.decode())
            case _:
                return int(answer[0])

    async def end_call(self, hold: Hold, ended: LlmCall) -> None:
        """Note how a call ended that did not bring the result, so that nobody takes it for lost."""
        args: _Args = [hold.record, hold.attempt, ended.attempt, _encoder.encode(ended)]
        with store_faults("noting the end of a call in the journal"):
            await self._end(keys=[journal_key(hold.request_id)], args=args)

    async def look(self, holds: Sequence[Hold]) -> list[Look]:
        """Tell of each claim whether it still stands and its request is still wanted."""
        with store_faults("looking up claims in the journal"):
            answers = [answer for some in _batches(holds) for answer in await self._look_at(some)]
        return [
            Look(holds=not fenced, cancelled=reason.decode() if reason else None)
            for fenced, reason in answers
        ]

    async def _look_at(self, holds: Sequence[Hold]) -> list[tuple[int, bytes | None]]:
        keys = [key for hold in holds for key in _both_keys(hold)]
        args = [each for hold in holds for each in (hold.record, hold.attempt, hold.replay)]
        answers: list[tuple[int, bytes | None]] = await self._look(keys=keys, args=args)
        return answers

    async def calls(self, request_id: str, *, record: str) -> NotedCalls:
        """Return the calls for a request; none where another record holds it, which will book them."""
        with store_faults("looking up calls in the journal"):
            fields = await self._calls(keys=[journal_key(request_id)], args=[record])
        return _noted(_pairs(fields))

    async def finish(self, hold: Hold, result: bytes) -> bool:
        """Store the result. False means that a newer attempt works on the request: send nothing."""
        with store_faults("storing a result in the journal"):
            return bool(
                await self._finish(
                    keys=[journal_key(hold.request_id)],
                    args=[hold.record, hold.attempt, result, self._ttl_s],
                )
            )

    async def sent(self, hold: Hold) -> None:
        """Note that the broker has the result, and forget its text."""
        with store_faults("closing an entry of the journal"):
            await self._sent(
                keys=[journal_key(hold.request_id)], args=[hold.record, hold.attempt, self._ttl_s]
            )


def _batches(holds: Sequence[Hold]) -> Iterator[Sequence[Hold]]:
    for at in range(0, len(holds), _LOOK_BATCH):
        yield holds[at : at + _LOOK_BATCH]


def _both_keys(hold: Hold) -> list[str]:
    return [journal_key(hold.request_id), request_key(hold.request_id)]


def _claim(claimant: Hold, answer: Sequence[bytes | int]) -> Claim:
    match answer:
        case [b"sent"]:
            return AlreadySent()
        case [b"held", bytes(holder)]:
            return HeldElsewhere(holder.decode())
        case [b"finished", int(attempt), bytes(result)]:
            return Finished(hold=msgspec.structs.replace(claimant, attempt=attempt), result=result)
        case [b"claimed", int(attempt), *fields]:
            noted = _noted(_pairs(fields))
            return Claimed(
                hold=msgspec.structs.replace(claimant, attempt=attempt),
                lost_calls=noted.lost_calls,
                known_calls=noted.known_calls,
            )
        case _:
            raise AssertionError(f"the journal's script answered {answer!r}")


def _noted(fields: Mapping[bytes, bytes]) -> NotedCalls:
    ended = dict(_numbered(fields, _ENDED))
    begun = dict(_numbered(fields, _BEGUN))
    lost = [
        LostCall(number=number, call=msgspec.json.decode(begun[number], type=BegunCall))
        for number in sorted(begun.keys() - ended.keys())
    ]
    known = [msgspec.json.decode(ended[number], type=LlmCall) for number in sorted(ended)]
    return NotedCalls(lost_calls=tuple(lost), known_calls=tuple(known))


def _numbered(fields: Mapping[bytes, bytes], prefix: bytes) -> Iterator[tuple[int, bytes]]:
    for name, value in fields.items():
        if name.startswith(prefix):
            yield int(name.removeprefix(prefix)), value


def _pairs(flat: Sequence[bytes | int]) -> dict[bytes, bytes]:
    values = [value for value in flat if isinstance(value, bytes)]
    return dict(zip(values[::2], values[1::2], strict=True))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)

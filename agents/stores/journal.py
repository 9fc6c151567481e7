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
- **A result that was sent**: nothing is left to do, for any record. The text of the result is forgotten
  as soon as the broker has it, so that the journal's memory is that of what is in flight.

Where Redis has lost its data (its append-only file included), an entry that is missing counts as one's
own: a worker goes on rather than throw away an answer that was paid for. A repeat may then be called again.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
from redis.asyncio import Redis

from agents.stores import journal_scripts as scripts
from streams.errors import HeadraceError
from streams.events import LlmCall
from streams.store import store_faults

_KEY = "headrace:journal:"
_BEGUN = b"begun:"
_ENDED = b"ended:"

_Args = list[bytes | str | int]

_encoder = msgspec.json.Encoder(decimal_format="string")


class BegunCall(msgspec.Struct, frozen=True, kw_only=True):
    """A provider call as it is known before it is made. `input_tokens` is our own count."""

    call_id: str
    provider: str
    model: str
    started_at: datetime
    input_tokens: int


class LostCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was begun and whose end nobody noted. `number` is its place among the calls."""

    number: int
    call: BegunCall


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """The right to work on a request: it ends when another attempt takes over."""

    request_id: str
    record: str
    attempt: int
    deadline_ms: int = 0


class Fenced(HeadraceError):
    """A newer attempt works on the request: stop, and send nothing."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(f"attempt {hold.attempt} at request {hold.request_id!r} was taken over")
        self.hold = hold


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """Work on it.

    Attributes:
        hold: to be shown at every further step.
        lost_calls: calls of former attempts that may have been billed, and whose answers are lost.
        known_calls: calls of former attempts whose end was noted, as they were booked.
    """

    hold: Hold
    lost_calls: tuple[LostCall, ...] = ()
    known_calls: tuple[LlmCall, ...] = ()


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The result is there, and nobody knows it to be sent: send it."""

    hold: Hold
    result: bytes


class HeldElsewhere(msgspec.Struct, frozen=True):
    """Another record of the same request is being worked on: drop this one."""

    record: str


class AlreadySent(msgspec.Struct, frozen=True):
    """The broker has the result: nothing is left to do."""


Claim = Claimed | Finished | HeldElsewhere | AlreadySent


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
        self._holds = redis.register_script(scripts.HOLDS)

    async def claim(
        self, request_id: str, *, record: str, instance: str, deadline_at: datetime, now: datetime
    ) -> Claim:
        """Claim a request, or learn why there is nothing to claim.

        Args:
            request_id: the request.
            record: the record that holds it, as ``topic:partition:offset``.
            instance: who claims it, for operators to read.
            deadline_at: until when the claimant can work on it.
            now: the time.
        """
        deadline_ms = _milliseconds(deadline_at)
        with store_faults("claiming a request in the journal"):
            answer = await self._claim(
                keys=[_KEY + request_id],
                args=[record, instance, _milliseconds(now), deadline_ms, self._ttl_s],
            )
        return _claim(request_id, record, deadline_ms, answer)

    async def begin_call(self, hold: Hold, call: BegunCall, *, after: int = 0) -> int:
        """Note a call that is about to be made.

        Args:
            hold: the claim.
            call: the call.
            after: the number of the caller's last call: the new number is higher.

        Returns:
            The call's number among all calls for the request, by whatever attempt; they count from 1.

        Raises:
            Fenced: a newer attempt works on the request; do not make the call.
        """
        args: _Args = [hold.record, hold.attempt, _encoder.encode(call), after, hold.deadline_ms, self._ttl_s]
        with store_faults("noting a call in the journal"):
            number = await self._begin(keys=[_KEY + hold.request_id], args=args)
        if not number:
            raise Fenced(hold)
        return int(number)

    async def end_call(self, hold: Hold, ended: LlmCall) -> None:
        """Note how a call ended that did not bring the result, so that nobody takes it for lost."""
        args: _Args = [hold.record, hold.attempt, ended.attempt, _encoder.encode(ended)]
        with store_faults("noting the end of a call in the journal"):
            await self._end(keys=[_KEY + hold.request_id], args=args)

    async def holds(self, hold: Hold) -> bool:
        """Tell whether the claim still stands."""
        with store_faults("looking up a claim in the journal"):
            return bool(await self._holds(keys=[_KEY + hold.request_id], args=[hold.record, hold.attempt]))

    async def finish(self, hold: Hold, result: bytes) -> bool:
        """Store the result. False means that a newer attempt works on the request: send nothing."""
        with store_faults("storing a result in the journal"):
            return bool(
                await self._finish(
                    keys=[_KEY + hold.request_id],
                    args=[hold.record, hold.attempt, result, self._ttl_s],
                )
            )

    async def sent(self, hold: Hold) -> None:
        """Note that the broker has the result, and forget its text."""
        with store_faults("closing an entry of the journal"):
            await self._sent(keys=[_KEY + hold.request_id], args=[hold.record, hold.attempt, self._ttl_s])


def _claim(request_id: str, record: str, deadline_ms: int, answer: Sequence[bytes | int]) -> Claim:
    def hold(attempt: int) -> Hold:
        return Hold(request_id=request_id, record=record, attempt=attempt, deadline_ms=deadline_ms)

    match answer:
        case [b"sent"]:
            return AlreadySent()
        case [b"held", bytes(holder)]:
            return HeldElsewhere(holder.decode())
        case [b"finished", int(attempt), bytes(result)]:
            return Finished(hold=hold(attempt), result=result)
        case [b"claimed", int(attempt), *fields]:
            return _claimed(hold(attempt), _pairs(fields))
        case _:
            raise AssertionError(f"the journal's script answered {answer!r}")


def _claimed(hold: Hold, fields: Mapping[bytes, bytes]) -> Claimed:
    ended = dict(_numbered(fields, _ENDED))
    begun = dict(_numbered(fields, _BEGUN))
    lost = [
        LostCall(number=number, call=msgspec.json.decode(begun[number], type=BegunCall))
        for number in sorted(begun.keys() - ended.keys())
    ]
    known = [msgspec.json.decode(ended[number], type=LlmCall) for number in sorted(ended)]
    return Claimed(hold=hold, lost_calls=tuple(lost), known_calls=tuple(known))


def _numbered(fields: Mapping[bytes, bytes], prefix: bytes) -> Iterator[tuple[int, bytes]]:
    for name, value in fields.items():
        if name.startswith(prefix):
            yield int(name.removeprefix(prefix)), value


def _pairs(flat: Sequence[bytes | int]) -> dict[bytes, bytes]:
    values = [value for value in flat if isinstance(value, bytes)]
    return dict(zip(values[::2], values[1::2], strict=True))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)

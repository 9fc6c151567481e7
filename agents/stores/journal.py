"""The journal of provider calls in Redis: which worker has a request, its calls, and its result.

Delivery is at least once: a record may be delivered twice, and a request may be in several records. Its
provider must be called once all the same. Therefore a worker *claims* the request here first, notes each
provider call *before* it sends it, and stores the result before it sends it to the next stage. `claim` says
what to do with a record:

| the entry says | `claim` returns | because |
|---|---|---|
| nothing | `Claimed`, attempt 1 | the request is new |
| claimed, same record | `Claimed`, next attempt | a record comes again only when its holder has lost it |
| claimed, another record | `HeldElsewhere`: drop | the holder's record is not committed; it comes again |
| … after the deadline | `Claimed`, next attempt | the holder can do nothing more; its record may be gone |
| a result, not sent | `ResultStored`: send it, no call | it crashed before sending; a repeat is dropped |
| sent, this run or a later one | `AlreadySent` | nothing is left to do |
| sent, an earlier run | `Claimed` | an operator has replayed the dead letter: a new run |

A call without a noted end is *lost*: the provider may have billed it, so the next holder books it as
orphaned. A former holder that is still alive (a zombie after a rebalance) has an old attempt number: it is
*fenced* at its next step. The journal deletes a result when the broker has it, so its memory is that of the
requests in flight.

If Redis has lost its data, append-only file included, a missing entry counts as the caller's own: the worker
continues, because the answer was paid for. A repeat of the request may then call the provider again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from redis.asyncio import Redis

from agents.stores import journal_entries as scripts
from agents.stores.journal_entries import (
    AlreadySent,
    BegunCall,
    Cancelled,
    Claim,
    Claimed,
    Fenced,
    HeldElsewhere,
    JournaledCalls,
    Lease,
    LeaseState,
    LostCall,
    ResultStored,
)
from streams.events import LlmCall
from streams.redis.connection import store_faults
from streams.redis.keys import JOURNAL, digest
from streams.registry.registry import request_key

#: The leases looked up in one script: Redis does nothing else for half a millisecond.
_LOOK_BATCH = 200

_Args = list[bytes | str | int]

_encoder = msgspec.json.Encoder(decimal_format="string")


def journal_key(request_id: str) -> str:
    """Return the key of a request's entry in the journal, a hash."""
    return JOURNAL.key(digest(request_id))


class Journal:
    """The journal in Redis; every step is one atomic script.

    Every method raises `StoreUnavailable` where Redis does not answer in time. An entry is kept for `ttl_s`
    seconds after its last step.
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
        """Claim a request for the record that holds it, or learn why there is nothing to claim; see `Lease`.

        Operators read `instance`. After `deadline_at` a record other than this one may claim the request.
        """
        lease = Lease(
            request_id=request_id,
            record=record,
            attempt=0,
            deadline_ms=_milliseconds(deadline_at),
            replay=replay,
        )
        with store_faults("claiming a request in the journal"):
            answer = await self._claim(
                keys=[journal_key(request_id)],
                args=[record, instance, _milliseconds(now), lease.deadline_ms, self._ttl_s, replay],
            )
        return _claim(lease, answer)

    async def begin_call(self, lease: Lease, call: BegunCall, *, after: int = 0) -> int:
        """Note a call that is about to be made. After `Fenced` or `Cancelled` it must not be made.

        Return its number among all calls for the request, by whatever attempt, from 1. It is higher than
        `after`, the number of the caller's last call.
        """
        holder: _Args = [lease.record, lease.attempt, lease.replay]
        args = [*holder, _encoder.encode(call), after, lease.deadline_ms, self._ttl_s]
        with store_faults("noting a call in the journal"):
            answer = await self._begin(keys=_both_keys(lease), args=args)
        match answer:
            case [0]:
                raise Fenced(lease)
            case [-1, bytes(reason)]:
                raise Cancelled(lease, reason.decode())
            case _:
                return int(answer[0])

    async def end_call(self, lease: Lease, ended: LlmCall) -> None:
        """Note the end of a call that did not bring the result, so that it does not count as lost."""
        args: _Args = [lease.record, lease.attempt, ended.attempt, _encoder.encode(ended)]
        with store_faults("noting the end of a call in the journal"):
            await self._end(keys=[journal_key(lease.request_id)], args=args)

    async def lease_states(self, leases: Sequence[Lease]) -> list[LeaseState]:
        """Return of each lease whether it still stands and its request is still wanted."""
        answers: list[tuple[int, bytes | None]] = []
        with store_faults("looking up claims in the journal"):
            for at in range(0, len(leases), _LOOK_BATCH):
                batch = leases[at : at + _LOOK_BATCH]
                keys = [key for lease in batch for key in _both_keys(lease)]
                args = [each for lease in batch for each in (lease.record, lease.attempt, lease.replay)]
                answers += await self._look(keys=keys, args=args)
        return [
            LeaseState(held=not fenced, cancelled=reason.decode() if reason else None)
            for fenced, reason in answers
        ]

    async def calls(self, request_id: str, *, record: str) -> JournaledCalls:
        """Return the calls for a request; none where another record holds it, which will book them."""
        with store_faults("looking up calls in the journal"):
            fields = await self._calls(keys=[journal_key(request_id)], args=[record])
        return _noted(fields)

    async def finish(self, lease: Lease, result: bytes) -> bool:
        """Store the result. False means that a newer attempt works on the request: send nothing."""
        with store_faults("storing a result in the journal"):
            return bool(
                await self._finish(
                    keys=[journal_key(lease.request_id)],
                    args=[lease.record, lease.attempt, result, self._ttl_s],
                )
            )

    async def sent(self, lease: Lease) -> None:
        """Note that the broker has the result, and forget its text."""
        with store_faults("closing an entry of the journal"):
            await self._sent(
                keys=[journal_key(lease.request_id)], args=[lease.record, lease.attempt, self._ttl_s]
            )


def _both_keys(lease: Lease) -> list[str]:
    return [journal_key(lease.request_id), request_key(lease.request_id)]


def _claim(claimant: Lease, answer: Sequence[bytes | int]) -> Claim:
    match answer:
        case [b"sent"]:
            return AlreadySent()
        case [b"held", bytes(holder)]:
            return HeldElsewhere(holder.decode())
        case [b"finished", int(attempt), bytes(result)]:
            return ResultStored(lease=msgspec.structs.replace(claimant, attempt=attempt), result=result)
        case [b"claimed", int(attempt), *fields]:
            lease = msgspec.structs.replace(claimant, attempt=attempt)
            return Claimed(lease=lease, **msgspec.structs.asdict(_noted(fields)))
        case _:
            raise AssertionError(f"the journal's script answered {answer!r}")


def _noted(fields: Sequence[Any]) -> JournaledCalls:
    """Return the calls of an entry, which is given as a flat list of its fields and values."""
    noted: dict[bytes, dict[int, bytes]] = {b"begun": {}, b"ended": {}}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        kind, _, number = name.partition(b":")
        if kind in noted:
            noted[kind][int(number)] = value
    begun, ended = noted[b"begun"], noted[b"ended"]
    lost = [
        LostCall(number=number, call=msgspec.json.decode(begun[number], type=BegunCall))
        for number in sorted(begun.keys() - ended.keys())
    ]
    known = [msgspec.json.decode(ended[number], type=LlmCall) for number in sorted(ended)]
    return JournaledCalls(lost_calls=tuple(lost), known_calls=tuple(known))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)

"""The request registry in Redis: the state of each accepted request, and its reply.

Ingest and the guardrail register a request before they work on it: the same id sent twice is worked on once.
A repeat gets the stored reply, joins the running request, or is refused because its body differs. The cost
stage settles the request with its reply. Entries expire `ttl_s` after the last write.

States: *pending* (ingest has registered it) → *running* (the guardrail has read its record) → *settling* (its
replies are being sent) → *settled*. Before settling it can be *cancelled*: the stages end it as soon as they
see that. Replaying a dead letter opens a settled request again.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from redis.asyncio import Redis

from streams.codec import encode
from streams.errors import InvalidRequest, SpendPending, StoreFull
from streams.events import ChatRequested, Reply, ReplyAddress, Requested
from streams.redis.connection import store_faults
from streams.redis.keys import REQUEST, WAITERS, digest
from streams.redis.memory import HasRoom
from streams.registry import scripts
from streams.registry.entries import (
    STATE_FIELDS,
    SUMMARIES,
    CancelAnswer,
    Registration,
    RequestState,
    RequestSummary,
    Settlement,
    SubmissionState,
    decode_reply,
    decode_state,
    restored,
    taken_out,
    vectors_key,
)
from streams.registry.runs import may_run_anew

__all__ = [
    "TOO_MANY_REPEATS",
    "CancelAnswer",
    "Registration",
    "RequestRegistry",
    "RequestState",
    "RequestSummary",
    "Settlement",
    "SubmissionState",
    "correlation_origin",
    "fingerprint",
    "request_key",
]

#: The error code for `SubmissionState.CROWDED`.
TOO_MANY_REPEATS = "too_many_repeats"
#: The most senders that wait for one reply, and the longest address of one.
_MAX_WAITERS = 1_000
_MAX_ADDRESS_BYTES = 2_048
_MAX_TENANT_CHARS = 1_024


def request_key(request_id: str) -> str:
    """Return the key of a request's entry, a hash. Stages look for `cancelled` in it."""
    return REQUEST.key(digest(request_id))


def correlation_origin(correlation_id: bytes) -> str:
    """Return the `origin` of a submission with this correlation id."""
    return "correlation:" + digest(correlation_id)


def fingerprint(request: Requested, tenant: str) -> str:
    """Return a hash of what is asked. Two submissions of one id must have the same."""
    asked = msgspec.structs.replace(
        request,
        request_id=None,
        tenant=tenant,
        tier=None,
        accepted_at=None,
        deadline_ms=None,
        on_disconnect=None,
    )
    if isinstance(asked, ChatRequested):
        asked = msgspec.structs.replace(asked, stream=False, headrace_cache=None)
    return hashlib.sha256(encode(asked)).hexdigest()


class RequestRegistry:
    """The state of each request, in Redis. Every method raises `StoreUnavailable`.

    An entry is kept for `ttl_s` seconds, the vectors of a reply for `vectors_ttl_s`; while not
    `keeps_vectors`, repeats get replies without vectors.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        ttl_s: int,
        vectors_ttl_s: int = 600,
        has_room: HasRoom = lambda: True,
        keeps_vectors: HasRoom = lambda: True,
    ) -> None:
        self._redis = redis
        self._has_room = has_room
        self._keeps_vectors = keeps_vectors
        self._ttl_s = ttl_s
        self._vectors_ttl_s = vectors_ttl_s
        self._register = redis.register_script(scripts.REGISTER)
        self._begin_settle = redis.register_script(scripts.BEGIN_SETTLE)
        self._finish_settle = redis.register_script(scripts.FINISH_SETTLE)
        self._cancel = redis.register_script(scripts.CANCEL)
        self._abandon = redis.register_script(scripts.ABANDON)
        self._summary = redis.register_script(scripts.SUMMARY)

    async def register(
        self,
        request_id: str,
        *,
        tenant: str,
        body: str,
        origin: str,
        running: bool,
        reply_to: ReplyAddress,
        replay: int = 0,
    ) -> Registration:
        """Register a submission, and compare it with those before it.

        `body` is the request's `fingerprint`, `origin` the id of this submission: a redelivery has the same
        origin, a repeat has another one. `running`: the caller works on it now (the guardrail) instead of
        queueing it (ingest). A new request is refused with `StoreFull` while Redis is nearly full, and with
        `InvalidRequest` if its names are too long.
        """
        address = encode(reply_to)
        fits = len(tenant) <= _MAX_TENANT_CHARS and len(address) <= _MAX_ADDRESS_BYTES
        with store_faults("registering a request"):
            state, reply, cancelled = await self._register(
                keys=self._keys(request_id),
                args=[
                    tenant if fits else "",
                    body,
                    digest(origin),
                    "running" if running else "pending",
                    address if fits else b"",
                    datetime.now(UTC).isoformat(),
                    self._ttl_s,
                    replay,
                    int(self._has_room()),
                    int(fits),
                    _MAX_WAITERS,
                ],
            )
            if state == b"full":
                raise StoreFull("Redis: registering a request failed: its memory is nearly full")
            if state == b"too_long":
                raise InvalidRequest(
                    f"a tenant has at most {_MAX_TENANT_CHARS} characters, and reply topic and correlation "
                    f"id have {_MAX_ADDRESS_BYTES} bytes together, in Base64: use a shorter correlation id",
                    code="names_too_long",
                    param="kafka_correlationId",
                )
            found = await restored(self._redis, decode_reply(reply))
        return Registration(SubmissionState(state.decode()), found, cancelled.decode() if cancelled else None)

    async def cancel(
        self, request_id: str, *, tenant: str, reason: str, only_alone: bool = False
    ) -> CancelAnswer:
        """Ask the stages to end a request. It is still answered if they see that too late.

        A request of another tenant counts as unknown. `only_alone`: do nothing if the same request was sent
        more than once.
        """
        with store_faults("cancelling a request"):
            answer = await self._cancel(
                keys=self._keys(request_id)[:1], args=[tenant, reason, int(only_alone)]
            )
        return CancelAnswer(answer.decode())

    async def abandon(self, request_id: str, *, origin: str) -> None:
        """Delete a registration whose record could not be published."""
        with store_faults("forgetting a request"):
            await self._abandon(keys=self._keys(request_id), args=[digest(origin)])

    async def find(self, request_id: str) -> RequestState | None:
        """Return the state of a request; None where it is unknown or expired."""
        with store_faults("finding a request"):
            state = decode_state(await self._redis.hmget(request_key(request_id), STATE_FIELDS))
            if state is None or state.reply is None:
                return state
            return msgspec.structs.replace(state, reply=await restored(self._redis, state.reply))

    async def knows(self, request_id: str) -> bool:
        """Whether a request of this id was accepted and is not expired."""
        with store_faults("looking for a request"):
            return bool(await self._redis.exists(request_key(request_id)))

    async def find_many(self, request_ids: Sequence[str]) -> list[RequestState | None]:
        """Return the state of each request in one round trip. Replies come without vectors; ask for few."""
        with store_faults("finding requests"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for request_id in request_ids:
                    pipe.hmget(request_key(request_id), STATE_FIELDS)
                found = await pipe.execute()
        return [decode_state(fields) for fields in found]

    async def summaries_of(self, request_ids: Sequence[str], *, tenant: str) -> list[RequestSummary | None]:
        """Return the state of each request in one round trip, without its reply.

        None stands for a request that is unknown, or another tenant's.
        """
        if not request_ids:
            return []
        keys = [request_key(request_id) for request_id in request_ids]
        with store_faults("looking at requests"):
            found = await self._summary(keys=keys, args=[tenant])
        return [SUMMARIES[each] for each in found]

    async def begin_settle(self, reply: Reply, *, tenant: str, knows_spend: bool = True) -> Settlement:
        """Store the reply and close the list of waiters.

        A second call returns the reply that was stored first. A reply from before the latest replay counts as
        done. An outcome without provider calls (not `knows_spend`), e.g. of an earlier stage that got the
        record again after its deadline, must not settle a request that has calls: `SpendPending` is raised
        until the outcome with the calls is settled.
        """
        bare, vectors = taken_out(reply)
        with store_faults("settling a request"):
            state, stored, waiters = await self._begin_settle(
                keys=[*self._keys(reply.request_id), vectors_key(reply.request_id)],
                args=[
                    encode(bare),
                    tenant,
                    datetime.now(UTC).isoformat(),
                    self._ttl_s,
                    reply.replay,
                    int(knows_spend),
                    vectors if self._keeps_vectors() else b"",
                    self._vectors_ttl_s,
                    int(may_run_anew(reply)),
                ],
            )
            first = await restored(self._redis, decode_reply(stored), beside=reply)
        if state == b"spent":
            raise SpendPending(f"request {reply.request_id!r} has calls that this outcome does not contain")
        return Settlement(
            state == b"settled",
            first or reply,
            tuple(msgspec.json.decode(waiter, type=ReplyAddress) for waiter in sorted(waiters)),
        )

    async def finish_settle(self, request_id: str, *, replay: int = 0) -> bool:
        """Mark a request as settled: the broker has acknowledged every reply of its run number `replay`.

        Return whether a reply of this or a later run is stored: False if `begin_settle` never reached Redis.
        """
        with store_faults("finishing a request"):
            return bool(await self._finish_settle(keys=self._keys(request_id), args=[self._ttl_s, replay]))

    def _keys(self, request_id: str) -> list[str]:
        return [request_key(request_id), WAITERS.key(digest(request_id))]

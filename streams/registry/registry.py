"""The request registry: where each accepted request stands.

Ingest and the guardrail register a request here before anything is done for it, so that the same id
sent twice does the work once: a repeat gets the stored reply, joins the one that runs, or is refused
because its body differs. The cost stage settles the request with its reply. The registry lives in
Redis; its entries expire `ttl_s` after they were last written.

A request is *pending* from ingest's registration until the guardrail reads its record, then *running*,
then *settling* while its replies are being sent, then *settled*. Until it is settling it can be
*cancelled*: the stages then end it as soon as they see that. When an operator replays a dead letter of a
settled request, the first stage that registers or settles it under the new number opens it again.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from redis.asyncio import Redis

from streams.codec import encode
from streams.errors import InvalidRequest, SpendPending, StoreFull
from streams.events import ChatRequested, Reply, ReplyAddress, Requested, Status
from streams.redis.connection import store_faults
from streams.redis.keys import REQUEST, WAITERS, digest
from streams.redis.memory import HasRoom
from streams.registry import scripts
from streams.registry.kept_vectors import KeptVectors, taken_out, vectors_key
from streams.registry.runs import may_run_anew

#: The code of the error that a sender gets where `Standing.CROWDED` was found.
TOO_MANY_REPEATS = "too_many_repeats"
#: So many senders wait for one request's reply, each at an address of at most so many bytes.
_MAX_WAITERS = 1_000
_MAX_ADDRESS_BYTES = 2_048
_MAX_TENANT_CHARS = 1_024
_FOUND = ["tenant", "state", "registered_at", "reply", "cancelled", "reply_to"]


class Standing(StrEnum):
    """What registering a request found."""

    NEW = "new"  # nobody has it: do the work
    SAME = "same"  # this very submission, delivered again: go on with it
    DONE = "done"  # this very submission, and its replies are out: nothing left to do
    PENDING = "pending"  # accepted before, but its record was not read yet: publish it (again)
    JOINED = "joined"  # it runs: its reply will also be sent to this sender
    SETTLED = "settled"  # it is finished: here is the reply
    CONFLICT = "conflict"  # another body under the same id: refuse
    IMPOSTER = "imposter"  # another body under the very name of the first submission: somebody copied that
    CROWDED = "crowded"  # it runs, and nobody else can wait for its reply: refuse


class Registration(msgspec.Struct, frozen=True):
    """The answer to `RequestRegistry.register`.

    `reply` is there where the request is settled, `cancelled` where it is to be cancelled: by what.
    """

    standing: Standing
    reply: Reply | None = None
    cancelled: str | None = None


class CancelAnswer(StrEnum):
    """What came of an attempt to cancel a request."""

    CANCELLING = "cancelling"  # the stages will end it as soon as they see it
    SETTLED = "settled"  # too late: it has its reply
    SHARED = "shared"  # others have sent the same request and wait for it: it goes on
    UNKNOWN = "unknown"  # there is no such request, or it is another tenant's


class RequestState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request stands, and whose it is.

    `cancelled`: what asked to end it, where something did. `reply_to`: where its reply goes, and before it
    the deltas; None where only its reply is known.
    """

    tenant: str
    state: str
    registered_at: datetime
    reply: Reply | None = None
    cancelled: str | None = None
    reply_to: ReplyAddress | None = None


class Glimpse(msgspec.Struct, frozen=True):
    """Where a request stands, without its reply.

    `status` is there where it has its reply; `has_text`: whether there is any text in that; `anew`: whether
    it may be run anew (`streams.registry.runs.may_run_anew`).
    """

    status: Status | None = None
    has_text: bool = False
    anew: bool = False


class Settlement(msgspec.Struct, frozen=True):
    """Everyone who waits for a reply, and the reply that was stored first."""

    done: bool
    reply: Reply
    waiters: tuple[ReplyAddress, ...]


def request_key(request_id: str) -> str:
    """Return the key of a request's entry, a hash: stages that work on it look there for `cancelled`."""
    return REQUEST.key(digest(request_id))


def correlation_origin(correlation_id: bytes) -> str:
    """Name a submission by its correlation id: ingest and the guardrail must name it in the same words."""
    return "correlation:" + digest(correlation_id)


def fingerprint(request: Requested, tenant: str) -> str:
    """Return a hash of what is asked: two requests with the same id must agree in it."""
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
    """Where each request stands, in Redis.

    Every method raises `StoreUnavailable` where Redis does not answer in time.

    Args:
        redis: the client; its timeouts bound every call.
        ttl_s: how long an entry is kept, in seconds.
        vectors_ttl_s: how long the vectors of a reply are, which are large.
        has_room: whether Redis has memory for one more request.
        keeps_vectors: whether it has memory for vectors, too. Where it has not, a repeat gets none.
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
        self._vectors = KeptVectors(redis)
        self._register = redis.register_script(scripts.REGISTER)
        self._begin_settle = redis.register_script(scripts.BEGIN_SETTLE)
        self._finish_settle = redis.register_script(scripts.FINISH_SETTLE)
        self._cancel = redis.register_script(scripts.CANCEL)
        self._abandon = redis.register_script(scripts.ABANDON)
        self._glimpse = redis.register_script(scripts.GLIMPSE)

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
        """Register a submission, and say what it is to those before it.

        Args:
            request_id: the id the sender chose, or was given.
            tenant: whose request it is.
            body: the request's `fingerprint`.
            origin: names this submission. Delivered again it has the same origin; the same
                request sent again by its sender has another.
            running: the caller starts the work now (the guardrail), rather than queueing it (ingest).
            reply_to: where the reply goes; also if the request turns out to run already.
            replay: how often a dead letter of the request was replayed.

        Raises:
            StoreFull: Redis is nearly full, and the request is new to it.
            InvalidRequest: the request is new, and its names are longer than is kept.
        """
        address = encode(reply_to)
        fits = len(tenant) <= _MAX_TENANT_CHARS and len(address) <= _MAX_ADDRESS_BYTES
        with store_faults("registering a request"):
            standing, reply, cancelled = await self._register(
                keys=self._keys(request_id),
                args=[
                    tenant if fits else "",  # what is not kept is no load for Redis either
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
            if standing == b"full":
                raise StoreFull("Redis: registering a request failed: its memory is nearly full")
            if standing == b"too_long":
                raise _too_long()
            found = await self._vectors.restored(_reply(reply))
        return Registration(Standing(standing.decode()), found, cancelled.decode() if cancelled else None)

    async def cancel(
        self, request_id: str, *, tenant: str, reason: str, only_alone: bool = False
    ) -> CancelAnswer:
        """Ask that a request be ended; asking twice is asking once.

        Where the answer is there before the stages see it, the request ends answered all the same.

        Args:
            request_id: the request.
            tenant: whose it must be.
            reason: what asks, as operators will read it, e.g. ``client_disconnected``.
            only_alone: leave it alone where the same request was sent more than once.
        """
        with store_faults("cancelling a request"):
            answer = await self._cancel(
                keys=self._keys(request_id)[:1], args=[tenant, reason, int(only_alone)]
            )
        return CancelAnswer(answer.decode())

    async def abandon(self, request_id: str, *, origin: str) -> None:
        """Forget a registration whose record could not be published."""
        with store_faults("forgetting a request"):
            await self._abandon(keys=self._keys(request_id), args=[digest(origin)])

    async def find(self, request_id: str) -> RequestState | None:
        """Return where the request stands, or None if it is unknown (or long ago)."""
        with store_faults("finding a request"):
            state = _state(await self._redis.hmget(request_key(request_id), _FOUND))
            if state is None or state.reply is None:
                return state
            return msgspec.structs.replace(state, reply=await self._vectors.restored(state.reply))

    async def knows(self, request_id: str) -> bool:
        """Whether a request of this id was accepted, not so long ago that it is forgotten."""
        with store_faults("looking for a request"):
            return bool(await self._redis.exists(request_key(request_id)))

    async def find_many(self, request_ids: Sequence[str]) -> list[RequestState | None]:
        """Return where each request stands, in one round trip. Their replies come with them: ask for few.

        Vectors do not come with them.
        """
        with store_faults("finding requests"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for request_id in request_ids:
                    pipe.hmget(request_key(request_id), _FOUND)
                found = await pipe.execute()
        return [_state(fields) for fields in found]

    async def glimpse_many(self, request_ids: Sequence[str], *, tenant: str) -> list[Glimpse | None]:
        """Return how each request of a tenant ended, if it has, in one round trip and without its reply.

        None stands for a request that is unknown, or another tenant's.
        """
        if not request_ids:
            return []
        keys = [request_key(request_id) for request_id in request_ids]
        with store_faults("looking at requests"):
            found = await self._glimpse(keys=keys, args=[tenant])
        return [_GLIMPSES[each] for each in found]

    async def begin_settle(self, reply: Reply, *, tenant: str, knows_spend: bool = True) -> Settlement:
        """Store the reply and close the list of waiters.

        Called again for the same request it returns the reply that was stored first, so that a
        reply sent twice is the same twice. A reply of a run before the latest replay counts as done.

        Args:
            reply: the terminal reply.
            tenant: whose request it is.
            knows_spend: False for an outcome without provider calls that must not settle a request for which
                a call was made. So a stage before them ends a request whose record it was given again, after
                its deadline, say, while the calls of the first time are still being made.

        Raises:
            SpendPending: the calls are in another outcome, which is to be settled first.
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
            first = await self._vectors.restored(_reply(stored), beside=reply)
        if state == b"spent":
            raise SpendPending(f"request {reply.request_id!r} has spent what this outcome does not know of")
        return Settlement(
            state == b"settled",
            first or reply,
            tuple(msgspec.json.decode(waiter, type=ReplyAddress) for waiter in sorted(waiters)),
        )

    async def finish_settle(self, request_id: str, *, replay: int = 0) -> bool:
        """Note that every reply of a run was acknowledged by the broker.

        Args:
            request_id: the request.
            replay: which run it was: how often a dead letter of the request had been replayed.

        Returns:
            Whether a reply of this or a later run is stored: False where `begin_settle` never reached Redis.
        """
        with store_faults("finishing a request"):
            return bool(await self._finish_settle(keys=self._keys(request_id), args=[self._ttl_s, replay]))

    def _keys(self, request_id: str) -> list[str]:
        return [request_key(request_id), WAITERS.key(digest(request_id))]


def _too_long() -> InvalidRequest:
    return InvalidRequest(
        f"a tenant has at most {_MAX_TENANT_CHARS} characters, and reply topic and correlation id have "
        f"{_MAX_ADDRESS_BYTES} bytes together, in Base64: use a shorter correlation id",
        code="names_too_long",
        param="kafka_correlationId",
    )


def _state(fields: Sequence[bytes | str | None]) -> RequestState | None:
    tenant, state, at, reply, cancelled, reply_to = (_bytes(field) for field in fields)
    if state is None:
        return None
    return RequestState(
        tenant=(tenant or b"").decode(),
        state=state.decode(),
        registered_at=datetime.fromisoformat(at.decode()) if at else datetime.now(UTC),
        reply=_reply(reply),
        cancelled=cancelled.decode() if cancelled else None,
        reply_to=msgspec.json.decode(reply_to, type=ReplyAddress) if reply_to else None,
    )


#: What the script says of a request, and what that means.
_GLIMPSES: dict[bytes, Glimpse | None] = {
    b"unknown": None,
    b"open": Glimpse(),
    **{
        f"{status.value}{'+' * has_text}{'!' * anew}".encode(): Glimpse(status, has_text=has_text, anew=anew)
        for status in Status
        for has_text in (False, True)
        for anew in (False, True)
    },
}


def _reply(data: bytes | None) -> Reply | None:
    return msgspec.json.decode(data, type=Reply) if data else None


def _bytes(field: bytes | str | None) -> bytes | None:
    return field.encode() if isinstance(field, str) else field

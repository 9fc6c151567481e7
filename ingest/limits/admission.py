"""Checks the limits of a request before it is registered, and ends what it holds when it has ended.

admission = await limits.admit(request, prepared)     # 429 where it is over a limit
...
admission.end(reply)                                   # gives the permit back, counts the tokens it used
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from fastapi import Request

from ingest.batches.batch import batch_key
from ingest.batches.lines import CheckedFile
from ingest.errors import speaks_anthropic
from ingest.limits.address import client_address
from ingest.limits.answers import limit_headers, too_many
from ingest.submit.submission import PreparedRequest, with_second_try
from streams.codec import encode
from streams.control.follower import ControlFollower
from streams.control.specs import LimitSpec
from streams.errors import StoreUnavailable
from streams.events import ChatRequested, Reply, Requested
from streams.limits.limiter import LimitExceeded, RateLimiter, Take, Taken
from streams.limits.subjects import LimitSubject, Requester, subjects_of
from streams.redis.keys import REQUEST, digest
from streams.request_rules.input_tokens import input_tokens
from streams.serving.api_keys import Caller
from streams.settings import Settings
from streams.tasks import DetachedTasks

log = structlog.get_logger(__name__)

#: A request ends at its deadline; a stream may then be read for half a minute more. A permit that was not
#: given back, because this process has ended, ends so long after the deadline, in seconds.
PERMIT_GRACE_S = 35.0
#: From this size on, counting tokens takes a thread.
_LONG_BYTES = 8_192


class Admission:
    """What a request holds until it has ended. Without limits, and as a repeat, it holds nothing."""

    def __init__(self, limits: "RequestLimits | None" = None, taken: Taken | None = None) -> None:
        self._limits = limits
        self._taken = taken

    @property
    def holds(self) -> bool:
        """Whether there is anything to end."""
        return self._taken is not None

    def end(self, reply: Reply | None = None) -> None:
        """Give the permit back; with a reply, count the tokens that it used. Returns at once."""
        taken, self._taken = self._taken, None
        if taken is None or self._limits is None:
            return
        tokens = None if reply is None else reply.usage.input_tokens + reply.usage.output_tokens
        self._limits.finish(taken, tokens)


@dataclass(eq=False)
class RequestLimits:
    """The limits of the tiers, as the control records have them; `limiter` counts.

    A permit is given back within `timeout_s` after a request has ended. `admit` and `admit_batch` raise
    `ApiError`: 429, and `StoreUnavailable`; a caller whose tier limits nothing costs no round trip.
    """

    settings: Settings
    control: ControlFollower
    limiter: RateLimiter
    timeout_s: float
    _tasks: DetachedTasks = field(init=False)

    def __post_init__(self) -> None:
        self._tasks = DetachedTasks(timeout_s=self.timeout_s)

    async def admit(self, request: Request, prepared: PreparedRequest) -> Admission:
        """Take what a request needs of its caller's limits."""
        subjects = self._subjects(request, prepared.caller, prepared.request.user_id)
        if not subjects:
            return Admission()
        tokens = await self._tokens(prepared.request) if _count_tokens(subjects) else 0
        return await self._take(
            request,
            prepared.request_id,
            [Take(subject=each, tokens=tokens) for each in subjects],
            entry=REQUEST.key(digest(prepared.request_id)),
            permit_s=prepared.deadline_ms / 1000 + PERMIT_GRACE_S,
        )

    async def admit_batch(self, request: Request, caller: Caller, batch_id: str, file: CheckedFile) -> None:
        """Take what all lines of a batch need, as requests and tokens; they hold no permits."""
        if not (subjects := self._subjects(request, caller, "")):
            return
        used = await asyncio.to_thread(self._use_of, file, counts_tokens=_count_tokens(subjects))
        takes: dict[str, Take] = {}
        for user, (requests, tokens) in used.items():
            for subject in self._subjects(request, caller, user):
                before = takes.get(subject.digest)
                takes[subject.digest] = Take(
                    subject=subject,
                    requests=requests + (before.requests if before else 0),
                    tokens=tokens + (before.tokens if before else 0),
                )
        await self._take(request, batch_id, list(takes.values()), entry=batch_key(batch_id))

    def finish(self, taken: Taken, tokens: int | None) -> None:
        """Give a permit back, beside the work; see `RateLimiter.finish`."""
        if not (taken.has_permit or taken.tokens):
            return
        if not self._tasks.start(self._finish(taken, tokens)):
            log.warning("limits.not_given_back", reason="too many at once")

    async def close(self) -> None:
        """Wait for the permits that are being given back."""
        await self._tasks.close()

    async def _take(
        self, request: Request, name: str, takes: Sequence[Take], *, entry: str, permit_s: float = 0.0
    ) -> Admission:
        attempt = uuid.uuid4().hex
        found = await with_second_try(
            lambda: self.limiter.take(name, takes, attempt=attempt, entry=entry, permit_s=permit_s)
        )
        request.state.response_headers = limit_headers(
            found.standings, anthropic=speaks_anthropic(request), now=datetime.now(UTC)
        )
        if isinstance(found, LimitExceeded):
            raise too_many(found)
        return Admission(self, found) if isinstance(found, Taken) else Admission()

    async def _finish(self, taken: Taken, tokens: int | None) -> None:
        try:
            async with asyncio.timeout(self._tasks.timeout_s):
                await self.limiter.finish(taken, tokens=tokens)
        except (StoreUnavailable, TimeoutError) as fault:  # the permit ends by itself
            log.warning("limits.not_given_back", reason=str(fault))

    def _subjects(self, request: Request, caller: Caller, user: str) -> tuple[LimitSubject, ...]:
        spec = self.control.state.specs(LimitSpec).get(caller.tier)
        if spec is None:
            return ()
        peer = request.client.host if request.client else None
        forwarded = request.headers.getlist("x-forwarded-for")
        who = Requester(
            key=caller.key or f"token of {caller.user}",  # each user of an OIDC issuer is a key of its own
            tenant=caller.tenant,
            tier=caller.tier,
            user=user,
            address=client_address(peer, forwarded, self.settings.trusted_proxies),
        )
        return subjects_of(spec, who)

    async def _tokens(self, request: Requested) -> int:
        if len(encode(request)) > _LONG_BYTES:
            return await asyncio.to_thread(self._most_tokens, request)
        return self._most_tokens(request)

    def _most_tokens(self, request: Requested) -> int:
        """Return the tokens of a request's input, by our own count, and the most that it may answer."""
        output = 0
        if isinstance(request, ChatRequested):
            output = request.max_tokens or self.settings.default_max_tokens
        return input_tokens(request) + output

    def _use_of(self, file: CheckedFile, *, counts_tokens: bool) -> dict[str, tuple[int, int]]:
        """Return the requests and tokens of each user in a file."""
        requests, tokens = Counter[str](), Counter[str]()
        for line in file.lines():
            requests[line.request.user_id] += 1
            if counts_tokens:
                tokens[line.request.user_id] += self._most_tokens(line.request)
        return {user: (count, tokens[user]) for user, count in requests.items()}


def _count_tokens(subjects: Sequence[LimitSubject]) -> bool:
    return any(each.bounds.tokens_per_minute is not None for each in subjects)

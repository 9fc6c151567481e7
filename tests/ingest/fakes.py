"""Ports of ingest in memory, and a pipeline that answers as it is told."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from ingest.auth import StreamTokens
from ingest.batches.batch import Batch
from ingest.batches.lines import LineName
from ingest.batches.service import Batches
from ingest.follow.reply_hub import ReplyHub
from ingest.limits.admission import RequestLimits
from ingest.services import HealthMonitor, Services
from ingest.submit.identification import SdkCall
from ingest.submit.submission import ClientDisconnects, Submissions
from streams.codec import decode, encode, header
from streams.control.follower import ControlFollower
from streams.errors import ClickHouseUnavailable, KafkaUnavailable, StoreFull, StoreUnavailable
from streams.events import (
    ChatRequested,
    Delta,
    EmbeddingsRequested,
    ErrorInfo,
    FeedbackGiven,
    PromptRef,
    Reply,
    ReplyAddress,
    Status,
    Usage,
)
from streams.limits.limiter import Known, LimitExceeded, Standing, Take, Taken
from streams.limits.subjects import LimitKind
from streams.publisher import Emit, Position
from streams.redis.memory import StoreMemory
from streams.registry.registry import (
    CancelAnswer,
    Registration,
    RequestState,
    RequestSummary,
    SubmissionState,
)
from streams.registry.runs import may_run_anew
from streams.serving.api_keys import ApiKeys
from streams.serving.callers import Callers
from streams.settings import ApiKey, Settings
from tests.fakes.control import MemoryControl
from tests.fakes.model_records import record, state_of

KEY = "key-of-acme"
OTHER_KEY = "key-of-zeta"
ADMIN_KEY = "key-of-the-admin"
MODEL = "gpt-4o-mini"
FEEDBACK_AT = datetime(2026, 11, 21, 9, 30, 0, 123456, UTC)
"""When feedback is given: the clock stands still."""


def answered(request_id: str = "r-1", content: str = "Paris is the capital.", **fields: Any) -> Reply:
    """A reply with an answer."""
    given: dict[str, Any] = {
        "status": Status.ANSWERED,
        "content": content,
        "model": MODEL,
        "finish_reason": "stop",
        "usage": Usage(input_tokens=12, output_tokens=5, cached_tokens=2),
        "cost_usd": Decimal("0.000004800"),
        "prompt": PromptRef(name="general_chat", version="v1"),
    }
    return Reply(request_id=request_id, **(given | fields))


def failed(kind: str, code: str, request_id: str = "r-1", **fields: Any) -> Reply:
    """A reply that says what went wrong."""
    error = ErrorInfo(type=kind, code=code, message=f"because of {code}", param=fields.pop("param", None))
    return Reply(request_id=request_id, error=error, **({"status": Status.FAILED} | fields))


def blocked(request_id: str = "r-1") -> Reply:
    """A reply to a request that the input guardrails stopped."""
    error = ErrorInfo(
        type="content_policy_error",
        code="ignore_instructions",
        message="Potential prompt injection detected",
    )
    return Reply(request_id=request_id, status=Status.BLOCKED, error=error)


@dataclass
class Sent:
    """A record on a topic for requests, read back from its bytes."""

    request: Any
    headers: Sequence[tuple[str, bytes]]
    key: str
    topic: str

    @property
    def correlation_id(self) -> bytes:
        value = header(self.headers, "kafka_correlationId")
        assert value is not None
        return value


Script = Callable[[Sent, ReplyHub], None]


@dataclass
class ScriptedPipeline:
    """A publisher behind which the whole pipeline is one function. None: nothing answers."""

    hub: ReplyHub
    script: Script | None = None
    broken: bool = False
    sent: list[Sent] = field(default_factory=list)
    feedback: list[Emit] = field(default_factory=list)

    async def publish(self, emit: Emit) -> Position:
        if self.broken:
            raise KafkaUnavailable("not acknowledged")
        if isinstance(emit.value, FeedbackGiven):
            self.feedback.append(emit)
            return Position(emit.topic, 0, len(self.feedback) - 1)
        assert isinstance(emit.value, ChatRequested | EmbeddingsRequested)
        assert isinstance(emit.key, str)
        sent = Sent(decode(encode(emit.value), type(emit.value)), emit.headers, emit.key, emit.topic)
        self.sent.append(sent)
        if self.script:
            self.script(sent, self.hub)
        return Position(emit.topic, 0, len(self.sent) - 1)

    def replies_with(self, reply: Reply, *deltas: tuple[int, int, str]) -> None:
        """Answer each request with these deltas (attempt, seq, text) and this reply."""

        def script(sent: Sent, hub: ReplyHub) -> None:
            for attempt, seq, text in deltas:
                hub.on_delta(Delta(request_id=sent.key, attempt=attempt, seq=seq, text=text))
            mine = msgspec.structs.replace(reply, request_id=sent.key)
            hub.on_reply(mine, sent.correlation_id)

        self.script = script


@dataclass
class Entry:
    tenant: str
    body: str
    origin: str
    state: str
    reply: Reply | None = None
    others: int = 0
    cancelled: str | None = None
    reply_to: ReplyAddress | None = None


@dataclass
class MemoryRegistry:
    """The registry's rules in a dict."""

    entries: dict[str, Entry] = field(default_factory=dict)
    waiters: list[ReplyAddress] = field(default_factory=list)
    broken: bool = False
    full: bool = False
    max_waiters: int = 1_000
    lost_answers: int = 0
    """So many registrations are made, and their answers do not arrive."""

    async def register(  # noqa: PLR0911  # one for each standing
        self,
        request_id: str,
        *,
        tenant: str,
        body: str,
        origin: str,
        running: bool,
        reply_to: ReplyAddress,
    ) -> Registration:
        self._check()
        assert not running, "ingest only queues requests"
        found = self.entries.get(request_id)
        if found is None:
            if self.full:
                raise StoreFull("Redis: its memory is nearly full")
            self.entries[request_id] = Entry(tenant, body, origin, "pending", reply_to=reply_to)
            if self.lost_answers:
                self.lost_answers -= 1
                raise StoreUnavailable("Redis: no answer in time")
            return Registration(SubmissionState.NEW)
        if found.body != body:
            return Registration(SubmissionState.CONFLICT)
        if found.state == "settled":
            return Registration(SubmissionState.SETTLED, found.reply)
        if found.origin == origin:
            return Registration(SubmissionState.SAME)
        if found.state == "pending":
            return Registration(SubmissionState.PENDING)
        if len(self.waiters) >= self.max_waiters:
            return Registration(SubmissionState.CROWDED)
        self.waiters.append(reply_to)
        found.others += 1
        return Registration(SubmissionState.JOINED)

    async def abandon(self, request_id: str, *, origin: str) -> None:
        self._check()
        found = self.entries.get(request_id)
        if found and found.origin == origin and found.state == "pending":
            del self.entries[request_id]

    async def cancel(
        self,
        request_id: str,
        *,
        tenant: str,
        reason: str,
        only_alone: bool = False,
    ) -> CancelAnswer:
        self._check()
        found = self.entries.get(request_id)
        if found is None or found.tenant != tenant:
            return CancelAnswer.UNKNOWN
        if found.state == "settled":
            return CancelAnswer.SETTLED
        if only_alone and found.others:
            return CancelAnswer.SHARED
        found.cancelled = found.cancelled or reason
        return CancelAnswer.CANCELLING

    async def find(self, request_id: str) -> RequestState | None:
        self._check()
        found = self.entries.get(request_id)
        if found is None:
            return None
        return RequestState(
            tenant=found.tenant,
            state=found.state,
            registered_at=datetime.now(UTC),
            reply=found.reply,
            cancelled=found.cancelled,
            reply_to=found.reply_to,
        )

    async def find_many(self, request_ids: Sequence[str]) -> list[RequestState | None]:
        return [await self.find(request_id) for request_id in request_ids]

    async def summaries_of(self, request_ids: Sequence[str], *, tenant: str) -> list[RequestSummary | None]:
        found = [await self.find(request_id) for request_id in request_ids]
        return [_summary(state) if state and state.tenant == tenant else None for state in found]

    def settle(self, reply: Reply, *, tenant: str = "acme") -> None:
        """Store a reply, as the cost stage does."""
        entry = self.entries.setdefault(reply.request_id, Entry(tenant, "", "", "running"))
        entry.state, entry.reply = "settled", reply

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("Redis: connection refused at 10.0.0.1")


@dataclass
class MemoryRuns:
    """The newest run of each key, by the registry's entries."""

    registry: MemoryRegistry
    runs: dict[str, int] = field(default_factory=dict)

    async def newest(self, id_of_run: Callable[[int], str], *, body: str) -> str | None:
        self.registry._check()  # the same Redis
        run = self.runs.get(id_of_run(1), 1)
        found = self.registry.entries.get(id_of_run(run))
        if found and found.body == body and found.reply and may_run_anew(found.reply):
            run += 1
            self.runs[id_of_run(1)] = run
        return id_of_run(run)


class NoCalls:
    """No SDK's call is ever open: each attempt is one of its own."""

    async def call_of(self, *, tenant: str, body: str, retries: int, deadline_ms: int) -> SdkCall:
        return SdkCall(slot=f"{tenant}:{body}", key=f"{uuid.uuid4()}:{retries}", deadline_ms=deadline_ms)

    @contextmanager
    def attending(self, call: SdkCall | None) -> Iterator[None]:
        del call
        yield


def _summary(state: RequestState) -> RequestSummary:
    if state.reply is None:
        return RequestSummary()
    return RequestSummary(
        state.reply.status, has_text=bool(state.reply.content), anew=may_run_anew(state.reply)
    )


@dataclass
class MemoryBatches:
    """Records of batches in a dict."""

    records: dict[str, Batch] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def begin(self, batch_id: str, *, tenant: str, digest: str, names: tuple[LineName, ...]) -> Batch:
        now = self.now()
        found = self.records.get(batch_id)
        if found is None:
            found = Batch(
                batch_id=batch_id,
                tenant=tenant,
                digest=digest,
                names=names,
                created_at=now,
                submitted_at=now,
            )
        if found.digest == digest:
            found = msgspec.structs.replace(found, submitted_at=now)
        self.records[batch_id] = found
        return found

    async def accept(self, batch_id: str) -> Batch | None:
        return self._note(batch_id, "accepted_at")

    async def rerun(self, batch: Batch, runs: dict[str, int]) -> Batch | None:
        found = self.records[batch.batch_id]
        if found.runs == batch.runs:
            found = msgspec.structs.replace(found, runs=runs, submitted_at=self.now(), accepted_at=None)
            self.records[batch.batch_id] = found
        return found

    async def cancel(self, batch_id: str) -> Batch | None:
        return self._note(batch_id, "cancelled_at")

    async def find(self, batch_id: str) -> Batch | None:
        return self.records.get(batch_id)

    def _note(self, batch_id: str, name: str) -> Batch | None:
        found = self.records.get(batch_id)
        if found is not None and getattr(found, name) is None:
            found = self.records[batch_id] = msgspec.structs.replace(found, **{name: self.now()})
        return found


@dataclass
class FixedSpend:
    """A summary a tenant; None: ClickHouse is down."""

    summaries: Mapping[str, Mapping[str, Any]] | None

    async def costs(self, tenant: str) -> Mapping[str, Any]:
        return self._of(tenant)

    async def cache_stats(self, tenant: str) -> Mapping[str, Any]:
        return self._of(tenant)

    def _of(self, tenant: str) -> Mapping[str, Any]:
        if self.summaries is None:
            raise ClickHouseUnavailable("connection refused at 10.0.0.2")
        return self.summaries[tenant]


@dataclass
class StoredRequests(FixedSpend):
    """When the requests of each tenant that have ended were accepted; `broken`: ClickHouse is down."""

    requests: dict[tuple[str, str], datetime] = field(default_factory=dict)
    broken: bool = False

    async def accepted_at(self, tenant: str, request_id: str) -> datetime | None:
        if self.broken:
            raise ClickHouseUnavailable("connection refused at 10.0.0.2")
        return self.requests.get((tenant, request_id))


@dataclass
class LoopState:
    alive: bool = True
    connected: bool = True
    partitions: tuple[int, ...] = (1, 3)


@dataclass
class NotedHistory:
    """Reads nothing; notes who follows what: (request id, partition, whether all of it was heard here)."""

    followed: list[tuple[str, int | None, bool]] = field(default_factory=list)
    open: int = 0

    @contextmanager
    def following(
        self,
        request_id: str,
        state: RequestState,
        *,
        complete: bool,
    ) -> Iterator[None]:
        partition = state.reply_to.partition if state.reply_to else None
        self.followed.append((request_id, partition, complete))
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


@dataclass
class MemoryLimiter:
    """Counts in dicts, without a clock: a minute never ends."""

    requests: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    permits: dict[str, set[str]] = field(default_factory=dict)
    charged: set[str] = field(default_factory=set)
    calls: int = 0
    broken: bool = False

    async def take(
        self, request_id: str, takes: Sequence[Take], *, attempt: str, entry: str, permit_s: float = 0.0
    ) -> Taken | Known | LimitExceeded:
        del attempt, entry
        self.calls += 1
        if self.broken:
            raise StoreUnavailable("Redis: connection refused at 10.0.0.1")
        if request_id in self.charged:
            return Known(standings=self._standings(takes))
        for take, standing in zip(takes, self._standings(takes), strict=True):
            wants = {
                LimitKind.REQUESTS: take.requests,
                LimitKind.TOKENS: take.tokens,
                LimitKind.CONCURRENT: int(permit_s > 0),
            }
            for kind, wanted in wants.items():
                limit = kind.of(take.subject.bounds)
                if limit is not None and standing.used(kind) + wanted > limit:
                    wait_s = None if wanted > limit else 12.3
                    return LimitExceeded(
                        standings=self._standings(takes), over=standing, kind=kind, take=take, wait_s=wait_s
                    )
        self.charged.add(request_id)
        for take in takes:
            key = take.subject.digest
            self.requests[key] += take.requests
            self.tokens[key] += take.tokens
            if permit_s:
                self.permits.setdefault(key, set()).add(request_id)
        return Taken(
            request=request_id,
            tokens=takes[0].tokens,
            standings=self._standings(takes),
            times=(0,) * len(takes),
            has_permit=permit_s > 0,
        )

    async def finish(self, taken: Taken, *, tokens: int | None) -> None:
        for each in taken.standings:
            self.permits.get(each.subject.digest, set()).discard(taken.request)
            if tokens is not None and taken.tokens:
                self.tokens[each.subject.digest] += tokens - taken.tokens

    @property
    def held(self) -> int:
        """How many permits are held, of all subjects."""
        return sum(map(len, self.permits.values()))

    def _standings(self, takes: Sequence[Take]) -> tuple[Standing, ...]:
        return tuple(
            Standing(
                subject=each.subject,
                requests=self.requests[each.subject.digest],
                tokens=self.tokens[each.subject.digest],
                concurrent=len(self.permits.get(each.subject.digest, ())),
                whole_in_s=59.5,
            )
            for each in takes
        )


@dataclass
class Rig:
    """The services of an application under test, and what they stand on."""

    services: Services
    pipeline: ScriptedPipeline
    registry: MemoryRegistry
    loop: LoopState
    down: set[str]
    history: NotedHistory
    batches: MemoryBatches
    stored: StoredRequests
    memory: dict[str, StoreMemory]
    limiter: MemoryLimiter


def settings(**overrides: Any) -> Settings:
    """Settings with two tenants."""
    given: dict[str, Any] = {
        "kafka_bootstrap": "unused:1",
        "redis_url": "redis://unused:1",
        "clickhouse_url": "http://unused:1",
        "api_keys": {
            KEY: ApiKey(tenant="acme", tier="enterprise"),
            OTHER_KEY: ApiKey(tenant="zeta", tier="free"),
        },
        "admin_key": ADMIN_KEY,
        "stream_token_secret": "a secret of the tests, long enough",
        "max_concurrent_requests": 8,
        "max_body_bytes": 200_000,
    }
    return Settings(_env_file=None, **(given | overrides))  # type: ignore[call-arg]  # pydantic-settings' own


def rig(*, spend: Mapping[str, Mapping[str, Any]] | None = None, **overrides: Any) -> Rig:
    """Services on fakes."""
    chosen = settings(**overrides)
    hub = ReplyHub(max_listeners=chosen.max_concurrent_requests)
    pipeline, registry, loop, down = ScriptedPipeline(hub), MemoryRegistry(), LoopState(), set[str]()
    history, memory = NotedHistory(), dict[str, StoreMemory]()

    def check(name: str) -> Callable[[], Any]:
        async def run() -> StoreMemory | None:
            if name in down:
                raise KafkaUnavailable(f"{name} refused at 10.0.0.3")
            return memory.get(name)

        return run

    callers, control = Callers(ApiKeys.of(chosen)), MemoryControl()
    batches, stored = MemoryBatches(), StoredRequests(spend)
    follower, limiter = ControlFollower(chosen.kafka_bootstrap, client_id="rig", timeout_s=1), MemoryLimiter()
    submissions = Submissions(registry, pipeline, hub, partitions=(1, 3), source="/ingest-1")
    services = Services(
        settings=chosen,
        control=follower,
        open_control=lambda: control,
        callers=callers,
        stream_tokens=StreamTokens.of(chosen, callers),
        limits=RequestLimits(chosen, follower, limiter, timeout_s=1.0),
        submissions=submissions,
        batches=Batches(batches, registry, submissions),
        disconnects=ClientDisconnects(registry, timeout_s=1.0),
        runs=MemoryRuns(registry),
        client_retries=NoCalls(),
        hub=hub,
        registry=registry,
        spend=stored,
        health=HealthMonitor({name: check(name) for name in ("kafka", "redis", "clickhouse")}, fresh_for_s=0),
        reply_loop=loop,
        history=history,
        clock=lambda: FEEDBACK_AT,
    )
    return Rig(services, pipeline, registry, loop, down, history, batches, stored, memory, limiter)


def limited(wired: Rig, **limits: dict[str, int]) -> None:
    """Give the tier of the tenant acme these limits, as a control record does."""
    wired.services.control.state = state_of(record("limit", "enterprise", limits))

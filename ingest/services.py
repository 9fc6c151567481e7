"""The services behind the routes: wired here, and nowhere else. Each route finds them by its request."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import msgspec
import structlog
from fastapi import Depends, Request

from ingest.admin.spend import BindQuery, ClickHouseSpend
from ingest.auth import StreamTokens
from ingest.batches.batch import BatchStore
from ingest.batches.service import Batches
from ingest.follow.delta_history import DeltaHistory
from ingest.follow.reply_consumer import ReplyConsumer
from ingest.follow.reply_hub import ReplyHub
from ingest.limits.admission import RequestLimits
from ingest.submit.identification import ClientRetries
from ingest.submit.submission import ClientDisconnects, Submissions
from streams.control.catalogue import LiveCatalogue
from streams.control.follower import ControlFollower
from streams.control.writer import ControlWriter
from streams.errors import HeadraceError, StoreDenied
from streams.kafka.groupless_consumer import GrouplessConsumer
from streams.kafka.record_auth import RecordAuth
from streams.limits.limiter import RateLimiter
from streams.publisher import Publisher, SendGate
from streams.redis import connection
from streams.redis.memory import MemoryState, MemoryWatch, StoreMemory
from streams.registry.registry import RequestRegistry
from streams.registry.runs import RequestRuns
from streams.serving.api_keys import ApiKeys
from streams.serving.callers import Callers
from streams.settings import Settings

log = structlog.get_logger(__name__)

#: Raises `HeadraceError` if the dependency is down; returns Redis's memory, if that is what it checks.
Check = Callable[[], Awaitable[StoreMemory | None]]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One dependency: ``up`` or ``down``, how long the check took, what was wrong; Redis's memory."""

    status: str
    latency_ms: float
    error: str | None = None
    memory: StoreMemory | None = None

    @property
    def up(self) -> bool:
        """Whether it answered."""
        return self.status == "up"

    def has_memory(self, state: MemoryState) -> bool:
        """Whether its memory is in this state."""
        return self.memory is not None and self.memory.state is state


@dataclass(eq=False)
class HealthMonitor:
    """Runs the checks side by side, and keeps their results for a moment."""

    checks: Mapping[str, Check]
    timeout_s: float = 1.5
    fresh_for_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _results: Mapping[str, CheckResult] = field(default_factory=dict, init=False)
    _fresh_until: float = field(default=float("-inf"), init=False)

    async def results(self) -> Mapping[str, CheckResult]:
        """Return the state of every dependency."""
        async with self._lock:
            if self.clock() >= self._fresh_until:
                found = await asyncio.gather(*(self._run(*each) for each in self.checks.items()))
                self._results = dict(zip(self.checks, found, strict=True))
                self._fresh_until = self.clock() + self.fresh_for_s
            return self._results

    async def _run(self, name: str, check: Check) -> CheckResult:
        started = self.clock()
        error = memory = None
        try:
            async with asyncio.timeout(self.timeout_s):
                memory = await check()
        except TimeoutError:
            error = f"no answer within {self.timeout_s:g} s"
        except (HeadraceError, OSError) as fault:
            log.warning("health.check_failed", dependency=name, error=str(fault))
            denied = isinstance(fault, StoreDenied)
            error = "refuses our user or password" if denied else "does not answer; the log says more"
        latency_ms = round((self.clock() - started) * 1000, 2)
        status = "down" if error else "up"
        return CheckResult(status=status, latency_ms=latency_ms, error=error, memory=memory)


_DASHBOARD_TIMEOUT_S = 10.0
#: The share of a send's time-out that the broker may be silent before further sends are refused at once. A
#: restart of the broker takes 4 to 12 s, and is waited out.
_OUTAGE_PATIENCE = 2 / 3


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything behind the routes."""

    settings: Settings
    control: ControlFollower
    open_control: Callable[[], ControlWriter]
    callers: Callers
    stream_tokens: StreamTokens
    limits: RequestLimits
    submissions: Submissions
    batches: Batches
    disconnects: ClientDisconnects
    runs: RequestRuns
    client_retries: ClientRetries
    hub: ReplyHub
    registry: RequestRegistry
    spend: ClickHouseSpend
    health: HealthMonitor
    reply_loop: ReplyConsumer
    history: DeltaHistory
    models: LiveCatalogue = field(default_factory=LiveCatalogue)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


async def _services(request: Request) -> Services:  # FastAPI runs plain functions in a thread of their own
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


@asynccontextmanager
async def connected_services(settings: Settings, bind: BindQuery) -> AsyncIterator[Services]:
    """Connect, yield the services, and disconnect.

    Raises `KafkaUnavailable`, and `ConfigurationError`: topics that do not fit, or a Redis that
    refuses us.
    """
    callers = Callers(ApiKeys.of(settings))
    auth = RecordAuth.from_settings(settings)
    name = f"headrace-ingest-{settings.ingest_replica}"
    hub = ReplyHub(max_listeners=settings.max_concurrent_requests)
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(ControlFollower.of(settings, client_id=name))
        stack.push_async_callback(callers.close)
        control.subscribe(callers.follow)
        models = LiveCatalogue()
        control.subscribe(models.follow)
        if not callers.keys:
            log.warning("ingest.no_api_keys", hint="nobody is let in: `headrace keys create` makes one")
        redis = connection.connect(settings.redis_url, timeout_s=settings.redis_timeout_s)
        stack.push_async_callback(redis.aclose)
        memory = await stack.enter_async_context(MemoryWatch(redis))
        spend = ClickHouseSpend(
            settings.clickhouse_url,
            bind,
            database=settings.clickhouse_database,
            timeout_s=min(settings.clickhouse_timeout_s, _DASHBOARD_TIMEOUT_S),
        )
        stack.push_async_callback(spend.close)
        publisher = await stack.enter_async_context(
            Publisher(
                settings.kafka_bootstrap,
                client_id=name,
                timeout_s=settings.kafka_timeout_s,
                auth=auth,
                gate=SendGate(
                    max_silence_s=_OUTAGE_PATIENCE * settings.kafka_timeout_s,
                    max_waiting=settings.max_concurrent_requests,
                ),
            )
        )
        consumer = partial(GrouplessConsumer, settings.kafka_bootstrap, timeout_s=settings.kafka_timeout_s)
        replies = ReplyConsumer(
            consumer(client_id=name),
            hub,
            replica=settings.ingest_replica,
            replicas=settings.ingest_replicas,
            auth=auth,
        )
        stack.push_async_callback(replies.stop)
        await replies.start()
        history = DeltaHistory(
            consumer(client_id=f"{name}-history"),
            hub,
            replies,
            lookback_s=settings.provider_total_timeout_s,
            auth=auth,
        )
        stack.push_async_callback(history.close)
        registry = RequestRegistry(
            redis,
            ttl_s=settings.registry_ttl_s,
            vectors_ttl_s=settings.embedding_ttl_s,
            has_room=memory.has_room,
        )
        disconnects = ClientDisconnects(registry, timeout_s=2 * settings.redis_timeout_s)
        stack.push_async_callback(disconnects.close)
        limits = RequestLimits(settings, control, RateLimiter(redis), timeout_s=2 * settings.redis_timeout_s)
        stack.push_async_callback(limits.close)
        client_retries = ClientRetries(redis, timeout_s=2 * settings.redis_timeout_s)
        stack.push_async_callback(client_retries.close)
        submissions = Submissions(registry, publisher, hub, partitions=replies.partitions, source=f"/{name}")
        yield Services(
            settings=settings,
            control=control,
            open_control=partial(ControlWriter.of, settings, client_id=f"{name}-admin"),
            callers=callers,
            stream_tokens=StreamTokens.of(settings, callers),
            limits=limits,
            submissions=submissions,
            batches=Batches(
                BatchStore(redis, ttl_s=settings.registry_ttl_s, has_room=memory.has_room),
                registry,
                submissions,
            ),
            disconnects=disconnects,
            runs=RequestRuns(redis, ttl_s=settings.registry_ttl_s),
            client_retries=client_retries,
            hub=hub,
            registry=registry,
            spend=spend,
            health=HealthMonitor({"kafka": replies.ping, "redis": memory.look, "clickhouse": spend.ping}),
            reply_loop=replies,
            history=history,
            models=models,
        )

"""The services behind the routes: wired here, and nowhere else. Each route finds them by its request."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from ingest.admin.dependency_health import HealthMonitor
from ingest.admin.spend import BindQuery, ClickHouseSpend
from ingest.auth import StreamTokens
from ingest.batches.batch import BatchStore
from ingest.batches.service import Batches
from ingest.follow.delta_history import DeltaHistory
from ingest.follow.reply_consumer import GrouplessConsumer, ReplyConsumer
from ingest.follow.reply_hub import ReplyHub
from ingest.submit.identification import ClientRetries
from ingest.submit.submission import ClientDisconnects, Submissions
from streams.kafka.record_auth import RecordAuth
from streams.publisher import Publisher, SendGate
from streams.redis import connection
from streams.redis.memory import MemoryWatch
from streams.registry.registry import RequestRegistry
from streams.registry.runs import RequestRuns
from streams.serving.api_keys import Caller, KeyTable, sender_keys
from streams.settings import Settings

_DASHBOARD_TIMEOUT_S = 10.0
#: The share of a send's time-out that the broker may be silent before further sends are refused at once. A
#: restart of the broker takes 4 to 12 s, and is waited out.
_OUTAGE_PATIENCE = 2 / 3


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything behind the routes."""

    settings: Settings
    keys: KeyTable[Caller]
    stream_tokens: StreamTokens
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
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


async def _services(request: Request) -> Services:  # FastAPI runs plain functions in a thread of their own
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


@asynccontextmanager
async def connected_services(settings: Settings, bind: BindQuery) -> AsyncIterator[Services]:
    """Connect, yield the services, and disconnect.

    Raises `KafkaUnavailable`, and `ConfigurationError`: no API key, topics that do not fit, or a Redis that
    refuses us.
    """
    keys = sender_keys(settings.keys)
    auth = RecordAuth.from_settings(settings)
    name = f"headrace-ingest-{settings.ingest_replica}"
    hub = ReplyHub(max_listeners=settings.max_concurrent_requests)
    async with AsyncExitStack() as stack:
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
        client_retries = ClientRetries(redis, timeout_s=2 * settings.redis_timeout_s)
        stack.push_async_callback(client_retries.close)
        submissions = Submissions(registry, publisher, hub, partitions=replies.partitions, source=f"/{name}")
        yield Services(
            settings=settings,
            keys=keys,
            stream_tokens=StreamTokens.of(settings),
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
        )

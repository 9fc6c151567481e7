"""The reader of feedback of one process, wired from its settings."""

import asyncio

from analytics.alerts.sink_progress import SinkProgress
from analytics.clickhouse import ClickHouse
from analytics.feedback.consumer import FeedbackConsumer
from analytics.feedback.pending_feedback import PendingLimits
from analytics.feedback.status import FeedbackStatus
from analytics.feedback.writer import ScoreWriter
from analytics.sink.consumer import ConsumerConfig
from analytics.sink.writer import TextRules
from streams.erasure.feed import ErasureFeed
from streams.kafka.record_auth import RecordAuth
from streams.pipeline import FEEDBACK
from streams.publisher import Publisher
from streams.settings import Settings
from streams.tasks import unless_stopped

_CLIENT = "headrace.feedback"
#: What comes is answered at once all the same; the sink, which works in batches, asks ten times as often.
_FETCH_WAIT_MS = 500


async def read_feedback(
    settings: Settings, status: FeedbackStatus, stop: asyncio.Event, clickhouse: ClickHouse
) -> None:
    """Turn feedback into scores until `stop` is set."""
    bootstrap, timeout_s = settings.kafka_bootstrap, settings.kafka_timeout_s
    auth = RecordAuth.from_settings(settings)
    publisher = Publisher(bootstrap, client_id=_CLIENT, timeout_s=timeout_s, auth=auth)
    start = status.retry("kafka", publisher.start)
    if not await unless_stopped(stop, start):
        return
    progress = SinkProgress(bootstrap, timeout_s=timeout_s)
    erasures = ErasureFeed(bootstrap, client_id=_CLIENT, timeout_s=timeout_s, auth=auth)
    writer = ScoreWriter(
        clickhouse,
        publisher,
        progress,
        status,
        erasures=erasures,
        text=TextRules(default=settings.store_text, by_tenant=settings.text_by_tenant),
    )
    try:
        config = ConsumerConfig.of(settings, FEEDBACK, fetch_wait_ms=_FETCH_WAIT_MS)
        limits = PendingLimits(wait_s=settings.feedback_wait_s)
        await FeedbackConsumer(config, limits, writer, status).run(stop)
    finally:
        await erasures.close()
        await progress.close()
        await publisher.stop()

"""The watcher of one process, wired from its settings."""

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from analytics.alerts.alert_log import AlertLog
from analytics.alerts.anomalies import AnomalyLimits
from analytics.alerts.fixed_limits import FreshnessLimits, budget_verdicts
from analytics.alerts.sink_progress import SinkProgress
from analytics.alerts.status import WatchStatus
from analytics.alerts.table import store_alerts
from analytics.alerts.watcher import WatchConfig, Watcher
from analytics.alerts.windows import WindowReader
from analytics.clickhouse import ClickHouse
from streams.kafka.record_auth import RecordAuth
from streams.settings import Settings
from streams.tasks import unless_stopped

log = structlog.get_logger(__name__)

#: The time between two looks: short windows are looked at more often.
_LONGEST_INTERVAL_S = 10.0
_LOOKS_PER_WINDOW = 4


async def watch(settings: Settings, status: WatchStatus, stop: asyncio.Event, clickhouse: ClickHouse) -> None:
    """Watch until `stop` is set."""
    progress = SinkProgress(settings.kafka_bootstrap, timeout_s=settings.kafka_timeout_s)
    alert_log = AlertLog(
        settings.kafka_bootstrap,
        instance_id=settings.instance_id,
        timeout_s=settings.kafka_timeout_s,
        auth=RecordAuth.from_settings(settings),
    )
    watcher = Watcher(
        watch_config(settings),
        WindowReader(clickhouse),
        progress,
        alert_log,
        partial(store_alerts, clickhouse),
        status=status,
        budgets=partial(budget_verdicts, settings.daily_budgets, clickhouse),
    )
    try:
        await unless_stopped(stop, watcher.run(stop))
    finally:
        await alert_log.stop()
        await progress.close()
        log.info("watcher.stopped", rounds=status.rounds)


def watch_config(settings: Settings) -> WatchConfig:
    """Return what the settings say about watching."""
    return WatchConfig(
        limits=AnomalyLimits(
            window=timedelta(seconds=settings.alert_window_s), requests=settings.alert_min_requests
        ),
        freshness=FreshnessLimits(stale_s=settings.alert_stale_s, lag_records=settings.alert_lag_records),
        history_days=settings.alert_history_days,
        interval_s=min(settings.alert_window_s / _LOOKS_PER_WINDOW, _LONGEST_INTERVAL_S),
    )

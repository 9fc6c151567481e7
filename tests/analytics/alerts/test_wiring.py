"""What the settings say about watching."""

from datetime import timedelta
from typing import Any

import pytest

from analytics.alerts.watcher import watch_config
from streams.errors import ConfigurationError
from streams.settings import Settings, load_settings

PARTS = {
    "kafka_bootstrap": "127.0.0.1:1",
    "redis_url": "redis://127.0.0.1:1/0",
    "clickhouse_url": "http://127.0.0.1:1",
}


def settings(**fields: Any) -> Settings:
    return load_settings(_env_file=None, **PARTS, **fields)


def test_the_defaults_are_quarters_of_an_hour_over_four_weeks() -> None:
    """Looked at every ten seconds; at the stated rate of false alarms."""
    config = watch_config(settings())
    assert (config.limits.window, config.limits.requests) == (timedelta(minutes=15), 50)
    assert (config.history_days, config.interval_s) == (28, 10.0)
    assert (config.stale_s, config.lag_records) == (300.0, 100_000)
    assert config.limits.level * (timedelta(days=30) / config.limits.window) == pytest.approx(1.0)


def test_short_windows_are_looked_at_more_often() -> None:
    """Four times each, and each has its share of the error level."""
    config = watch_config(settings(alert_window_s=4))
    assert config.interval_s == 1.0
    assert config.limits.level == pytest.approx(4 / 2_592_000)


@pytest.mark.parametrize("window_s", [7, 86_399])
def test_windows_must_divide_a_day(window_s: int) -> None:
    """Else the same time of two days would lie in windows of different bounds."""
    with pytest.raises(ConfigurationError, match="HEADRACE_ALERT_WINDOW_S must divide a day"):
        settings(alert_window_s=window_s)

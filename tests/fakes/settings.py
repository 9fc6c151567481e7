"""Settings of an installation that says only what the test says. No `.env` of a developer's is read."""

from typing import Any

from streams.settings import Settings


def settings_of(**given: Any) -> Settings:
    """Return the settings; nobody listens at the addresses."""
    nowhere = {"kafka_bootstrap": "k:1", "redis_url": "redis://r", "clickhouse_url": "http://c"}
    return Settings(_env_file=None, **(nowhere | given))

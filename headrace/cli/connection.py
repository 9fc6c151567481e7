"""Where Kafka, Redis and ClickHouse are, for commands that an operator runs beside a Headrace."""

from pathlib import Path
from typing import Any

import msgspec
from pydantic_settings import BaseSettings

from headrace.up.home import Endpoints, Home, NotRunning
from streams.errors import ConfigurationError
from streams.kafka.record_auth import key_of_redis
from streams.settings import Settings, load_settings


class _Named(BaseSettings):
    """What the environment (or `.env`) says of the parts, read by the rules of `Settings`."""

    model_config = Settings.model_config

    kafka_bootstrap: str | None = None
    redis_url: str | None = None
    clickhouse_url: str | None = None


def connection_settings(data_dir: Path) -> Settings:
    """Return the settings of the Headrace that is meant.

    The environment wins. What it leaves open comes from the `headrace up` that runs on `data_dir`, but only
    where that one uses the parts which the environment names: two installations are never mixed.

    Args:
        data_dir: the folder of a `headrace up`.

    Raises:
        ConfigurationError: a setting is wrong, or neither the environment nor a running `headrace up` says
            where the parts are.
    """
    named = {name: value for name, value in _Named().model_dump().items() if value is not None}
    if len(named) == len(_Named.model_fields):
        return load_settings()
    try:
        running = _parts(Home(data_dir).endpoints())
    except (NotRunning, OSError, msgspec.MsgspecError) as fault:
        if named:
            return load_settings()  # names each variable that is missing
        raise ConfigurationError(
            f"where is Kafka? {fault}; or name the folder of a running `headrace up` with --data-dir; or set "
            + ", ".join(f"HEADRACE_{name.upper()}" for name in _Named.model_fields)
        ) from fault
    if any(running[name] != value for name, value in named.items()):
        return load_settings()
    if key_of_redis(running["redis_url"]) is None:  # then `headrace up` has made a key
        running["record_keys"] = (Home(data_dir).keys().record_key,)
    return load_settings(**running)


def _parts(endpoints: Endpoints) -> dict[str, Any]:
    return {
        "kafka_bootstrap": endpoints.kafka,
        "redis_url": endpoints.redis,
        "clickhouse_url": endpoints.clickhouse,
    }

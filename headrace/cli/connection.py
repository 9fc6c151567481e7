"""Where Kafka, Redis and ClickHouse are, for commands that an operator runs beside a Headrace."""

from pathlib import Path
from typing import Any

import msgspec
from pydantic_settings import BaseSettings

from headrace.up.home import Endpoints, Home, NotRunning
from streams.errors import ConfigurationError
from streams.kafka.record_auth import key_of_redis
from streams.settings import Settings, load_settings


class _PartAddresses(BaseSettings):
    """What the environment (or `.env`) says of the parts, read by the rules of `Settings`."""

    model_config = Settings.model_config

    kafka_bootstrap: str | None = None
    redis_url: str | None = None
    clickhouse_url: str | None = None


class _ClickHouseAddresses(BaseSettings):
    """What it says of ClickHouse: nothing else is needed to read it."""

    model_config = Settings.model_config

    clickhouse_url: str | None = None
    clickhouse_reader_url: str | None = None
    clickhouse_database: str = "headrace"


def connection_settings(data_dir: Path) -> Settings:
    """Return the settings of the Headrace that is meant.

    The environment wins. What it leaves open comes from the `headrace up` that runs on `data_dir`, but only
    where that one uses the parts which the environment names: two installations are never mixed.

    Raises:
        ConfigurationError: a setting is wrong, or neither the environment nor a running `headrace up` says
            where the parts are.
    """
    named = {name: value for name, value in _PartAddresses().model_dump().items() if value is not None}
    if len(named) == len(_PartAddresses.model_fields):
        return load_settings()
    variables = ", ".join(f"HEADRACE_{name.upper()}" for name in _PartAddresses.model_fields)
    try:
        endpoints = _running(data_dir, "Kafka", variables)
    except ConfigurationError:
        if named:
            return load_settings()  # names each variable that is missing
        raise
    running: dict[str, Any] = {
        "kafka_bootstrap": endpoints.kafka,
        "redis_url": endpoints.redis,
        "clickhouse_url": endpoints.clickhouse,
    }
    if any(running[name] != value for name, value in named.items()):
        return load_settings()
    if key_of_redis(endpoints.redis) is None:  # then `headrace up` has made a key
        running["record_keys"] = (Home(data_dir).keys().record_key,)
    return load_settings(**running)


def clickhouse_to_read(data_dir: Path) -> tuple[str, str]:
    """Return address and database of the ClickHouse that is meant, with a user who may only read if possible.

    `HEADRACE_CLICKHOUSE_READER_URL` goes before `HEADRACE_CLICKHOUSE_URL`, and both before a running
    `headrace up`.
    """
    named = _ClickHouseAddresses()
    url = named.clickhouse_reader_url or named.clickhouse_url
    if url is None:
        variables = "HEADRACE_CLICKHOUSE_READER_URL or HEADRACE_CLICKHOUSE_URL"
        endpoints = _running(data_dir, "ClickHouse", variables)
        url = endpoints.clickhouse_reader or endpoints.clickhouse
    return url, named.clickhouse_database


def _running(data_dir: Path, part: str, variables: str) -> Endpoints:
    """Return the endpoints of the `headrace up` that runs on a folder."""
    try:
        return Home(data_dir).endpoints()
    except (NotRunning, OSError, msgspec.MsgspecError) as fault:
        raise ConfigurationError(
            f"where is {part}? {fault}; or name the folder of a running `headrace up` with --data-dir; "
            f"or set {variables}"
        ) from fault

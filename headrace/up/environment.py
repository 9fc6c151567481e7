"""Addresses and keys in the environment: of our own processes, and of commands that run beside them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic_settings import BaseSettings

from headrace.embedded.process import LOOPBACK
from headrace.up.home import Endpoints, Home, InstallationKeys, NotRunning
from streams.errors import ConfigurationError
from streams.kafka.record_auth import key_of_redis
from streams.settings import Settings, load_settings

PART_VARIABLES = {
    "kafka": "HEADRACE_KAFKA_BOOTSTRAP",
    "redis": "HEADRACE_REDIS_URL",
    "clickhouse": "HEADRACE_CLICKHOUSE_URL",
}
"""The setting with the address of each part. A part whose setting is given is not started."""

READER_VARIABLE = "HEADRACE_CLICKHOUSE_READER_URL"
PROVIDER_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")

_OWN_SERVICES = "HEADRACE_WEBHOOK_OWN_SERVICES"
_SIMULATOR_KEY = "sk-simulated-by-headrace"


def service_environment(
    given: Mapping[str, str],
    keys: InstallationKeys,
    *,
    parts: Mapping[str, str],
    ports: Mapping[str, int],
    own_ports: Iterable[int],
    simulator: str | None,
) -> dict[str, str]:
    """Return the environment of our own processes.

    `parts` are addresses by role. No webhook may reach `own_ports`. Without a simulator the providers are
    real. Raises `ConfigurationError`: HEADRACE_WEBHOOK_OWN_SERVICES is not a list.
    """
    defaults = {
        "HEADRACE_REPLY_TOPICS": '["*"]',  # on one machine, every service is ours
        "HEADRACE_API_KEY": keys.api_key,
        "HEADRACE_ADMIN_KEY": keys.admin_key,
        "HEADRACE_WEBHOOK_SECRET": keys.webhook_secret,
    }
    environ = {
        **given,
        **{name: given.get(name) or default for name, default in defaults.items()},
        **{PART_VARIABLES[role]: endpoint for role, endpoint in parts.items()},
        "HEADRACE_INGEST_PORT": str(ports["ingest"]),
        "HEADRACE_ANALYTICS_PORT": str(ports["analytics"]),
        _OWN_SERVICES: _own_services(given.get(_OWN_SERVICES) or "[]", own_ports),
    }
    if not given.get(PART_VARIABLES["clickhouse"]):
        address = parts["clickhouse"].rpartition("@")[2]
        environ[READER_VARIABLE] = f"http://reader:{keys.reader_password}@{address}"
    if key_of_redis(parts["redis"]) is None:  # the operator's own, without a password
        environ.setdefault("HEADRACE_RECORD_KEYS", f'["{keys.record_key}"]')
    if simulator is not None:
        environ |= {
            "OPENAI_API_KEY": _SIMULATOR_KEY,
            "OPENAI_BASE_URL": f"{simulator}/v1",
            "ANTHROPIC_API_KEY": _SIMULATOR_KEY,
            "ANTHROPIC_BASE_URL": simulator,
        }
    return environ


def _own_services(given: str, own_ports: Iterable[int]) -> str:
    try:
        named = msgspec.json.decode(given, type=list[str])
    except msgspec.DecodeError as fault:
        raise ConfigurationError(
            f'{_OWN_SERVICES} must be a JSON list of host:port, e.g. ["ingest:8000"]'
        ) from fault
    return msgspec.json.encode([*named, *(f"{LOOPBACK}:{port}" for port in own_ports)]).decode()


#: The settings without which no command reaches a part.
_PARTS = ("kafka_bootstrap", "redis_url", "clickhouse_url")


class _GivenAddresses(BaseSettings):
    """What the environment (or `.env`) says of the parts, read by the rules of `Settings`."""

    model_config = Settings.model_config

    kafka_bootstrap: str | None = None
    redis_url: str | None = None
    clickhouse_url: str | None = None
    clickhouse_reader_url: str | None = None
    clickhouse_database: str = "headrace"


def connection_settings(data_dir: Path) -> Settings:
    """Return the settings of the Headrace that is meant.

    The environment wins. What it leaves open comes from the `headrace up` that runs on `data_dir`, but only
    where that one uses the parts which the environment names: two installations are never mixed. Raises
    `ConfigurationError`: a setting is wrong, or neither the environment nor a running `headrace up` says
    where the parts are.
    """
    given = _GivenAddresses().model_dump(include=set(_PARTS))
    if None not in given.values():
        return load_settings()
    named = {name: value for name, value in given.items() if value is not None}
    try:
        endpoints = _running(data_dir, "Kafka", ", ".join(PART_VARIABLES.values()))
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
    """Return address and database of the ClickHouse that is meant, with a reading user if possible."""
    named = _GivenAddresses()
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

"""The environment of our own processes: what the operator gave, completed with addresses, keys and ports."""

from collections.abc import Iterable, Mapping

import msgspec

from headrace.embedded.ports import LOOPBACK
from headrace.up.home import InstallationKeys
from streams.errors import ConfigurationError
from streams.kafka.record_auth import key_of_redis

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
    real.

    Raises:
        ConfigurationError: HEADRACE_WEBHOOK_OWN_SERVICES is not a list.
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

"""Settings: read once, every wrong variable named."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from streams.errors import ConfigurationError
from streams.model_catalogue import ProviderProtocol
from streams.settings import ApiKey, Settings, load_settings
from tests.fakes.webhook_targets import allows

EXAMPLE = Path(__file__).parents[2] / ".env.example"
PARTS = {
    "HEADRACE_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "HEADRACE_REDIS_URL": "redis://127.0.0.1:6379/0",
    "HEADRACE_CLICKHOUSE_URL": "http://127.0.0.1:8123",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing but where the parts are, in a folder without a `.env`."""
    monkeypatch.chdir(tmp_path)
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in PARTS.items():
        monkeypatch.setenv(variable, value)
    return monkeypatch


def variables() -> set[str]:
    """Every environment variable that is read."""
    found = set()
    for name, field in Settings.model_fields.items():
        alias: Any = field.validation_alias
        found.add(alias.choices[0] if alias else f"HEADRACE_{name.upper()}")
    return found


def test_only_the_parts_must_be_given() -> None:
    """Everything else has a default that is itself valid."""
    settings = load_settings()
    assert settings.kafka_bootstrap == "127.0.0.1:9092"
    assert (settings.default_model, settings.cache_threshold) == ("gpt-4o", 0.92)
    assert settings.drain_timeout_s < 60
    assert settings.keys == {}


def test_everything_missing_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    """Nobody should have to start three times to learn of three variables."""
    for variable in PARTS:
        environment.delenv(variable)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    lines = str(caught.value).splitlines()
    assert lines[0] == "wrong settings:"
    assert [line.split()[0] for line in lines[1:]] == list(PARTS)
    assert "is not set (host:port of a Kafka broker; several separated by commas)" in lines[1]


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HEADRACE_INGEST_PORT", "70000", "less than or equal to 65535"),
        ("HEADRACE_INGEST_PORT", "web", "valid integer"),
        ("HEADRACE_CACHE_THRESHOLD", "1.5", "less than or equal to 1"),
        ("HEADRACE_KAFKA_TIMEOUT_S", "0", "greater than 0"),
        ("HEADRACE_PROVIDER_TRIES", "11", "less than or equal to 10"),
        ("HEADRACE_EMBEDDINGS", "word2vec", "'minilm' or 'off'"),
        ("HEADRACE_LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("HEADRACE_STORE_TEXT", "perhaps", "valid boolean"),
        ("HEADRACE_REPLY_TOPICS", "orders.replies", "must be valid JSON"),
        ("HEADRACE_REPLY_TOPICS", '{"a": 1}', "valid tuple"),
        ("HEADRACE_API_KEYS", "secret", "must be valid JSON"),
        ("HEADRACE_OUTPUT_REDACT", '["email", "name"]', "'email', 'credit_card'"),
        ("HEADRACE_FALLBACK_MODELS", "gpt-4o", "must be valid JSON"),
    ],
)
def test_a_wrong_variable_is_named(
    environment: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    """By the name that stands in the environment, with what it must be."""
    environment.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert re.search(rf"^  {variable}: .*{re.escape(says)}", str(caught.value), re.MULTILINE)


def test_wrong_and_missing_variables_are_named_together(environment: pytest.MonkeyPatch) -> None:
    """Each on its own line."""
    environment.setenv("HEADRACE_INGEST_PORT", "-1")
    environment.setenv("HEADRACE_TOPIC_PARTITIONS", "0")
    environment.delenv("HEADRACE_REDIS_URL")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    named = {line.split()[0].rstrip(":") for line in str(caught.value).splitlines()[1:]}
    assert named == {"HEADRACE_REDIS_URL", "HEADRACE_TOPIC_PARTITIONS", "HEADRACE_INGEST_PORT"}


def test_a_wrong_provider_variable_keeps_its_own_name(environment: pytest.MonkeyPatch) -> None:
    """The providers' variables have no prefix of ours."""
    with pytest.raises(ConfigurationError, match=r"^wrong settings:\n  OPENAI_API_KEY: "):
        load_settings(OPENAI_API_KEY=7)


def test_a_replica_number_beyond_the_replicas_is_refused(environment: pytest.MonkeyPatch) -> None:
    """It counts from 0, as a stateful set's pods do."""
    environment.setenv("HEADRACE_INGEST_REPLICA", "2")
    environment.setenv("HEADRACE_INGEST_REPLICAS", "2")
    with pytest.raises(ConfigurationError, match="HEADRACE_INGEST_REPLICA must be below"):
        load_settings()


def test_an_empty_variable_counts_as_unset(environment: pytest.MonkeyPatch) -> None:
    """Compose files hand on what is not set as an empty string: no number, no key, no broker."""
    environment.setenv("HEADRACE_INGEST_PORT", "")
    environment.setenv("HEADRACE_API_KEY", "")
    environment.setenv("OPENAI_API_KEY", "")
    settings = load_settings()
    assert (settings.ingest_port, settings.keys) == (8000, {})
    assert settings.provider_key(ProviderProtocol.OPENAI) is None
    environment.setenv("HEADRACE_REDIS_URL", "")
    with pytest.raises(ConfigurationError, match="HEADRACE_REDIS_URL is not set"):
        load_settings()


def test_provider_keys(environment: pytest.MonkeyPatch) -> None:
    """Under the names that the SDKs use; never shown by accident."""
    environment.setenv("OPENAI_API_KEY", "sk-open")
    settings = load_settings()
    assert settings.provider_key(ProviderProtocol.OPENAI) == "sk-open"
    assert settings.provider_key(ProviderProtocol.ANTHROPIC) is None
    assert "sk-open" not in repr(settings)


def test_api_keys(environment: pytest.MonkeyPatch) -> None:
    """The single key is the default tenant's; a key in the map keeps its own tenant."""
    environment.setenv("HEADRACE_API_KEY", "one")
    environment.setenv(
        "HEADRACE_API_KEYS", '{"two": {"tenant": "acme", "tier": "gold"}, "one": {"tenant": "z"}}'
    )
    assert load_settings().keys == {"one": ApiKey(tenant="z"), "two": ApiKey(tenant="acme", tier="gold")}


def test_a_dotenv_file_is_read_and_the_environment_wins(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unknown variables in it are other programs' business."""
    (tmp_path / ".env").write_text("HEADRACE_CACHE_TTL_S=7\nHEADRACE_INGEST_PORT=1\nOTHER=x\n")
    environment.setenv("HEADRACE_INGEST_PORT", "2")
    settings = load_settings()
    assert (settings.cache_ttl_s, settings.ingest_port) == (7, 2)


def test_the_example_file_names_every_variable_and_none_that_is_not_read() -> None:
    """What can be set can be found. Some are read by the command line and scripts alone."""
    pattern = r"^#?\s?((?:HEADRACE|OPENAI|ANTHROPIC)_[A-Z_]+)="
    named = set(re.findall(pattern, EXAMPLE.read_text(), re.MULTILINE))
    assert variables() <= named
    root = EXAMPLE.parent
    sources = [*(root / "headrace").rglob("*.py"), *(root / "scripts").iterdir()]
    read = " ".join(source.read_text() for source in sources if source.is_file())
    parts = {f"HEADRACE_EMBEDDED_{role}_PORT" for role in ("KAFKA", "REDIS", "CLICKHOUSE")}
    assert "HEADRACE_EMBEDDED_{role.upper()}_PORT" in read
    assert all(
        variable in read or variable.removeprefix("HEADRACE_") in read
        for variable in named - variables() - parts
    )


def test_a_webhook_secret_that_is_none_is_named_and_not_shown(environment: pytest.MonkeyPatch) -> None:
    """What somebody has mistyped is nearly a secret."""
    environment.setenv("HEADRACE_WEBHOOK_SECRET", "whsec_mistyped")
    with pytest.raises(ConfigurationError, match="HEADRACE_WEBHOOK_SECRET must be whsec_ and") as caught:
        load_settings()
    assert "mistyped" not in f"{caught.value} {caught.value.__cause__}"


def test_where_webhooks_may_go(environment: pytest.MonkeyPatch) -> None:
    """Nowhere private but for the networks that are named."""
    assert not allows(load_settings().webhook_targets, "10.1.2.3")
    environment.setenv("HEADRACE_WEBHOOK_ALLOW_NETWORKS", '["10.1.0.0/16", "fd00::/8"]')
    targets = load_settings().webhook_targets
    assert [allows(targets, each) for each in ("10.1.2.3", "fd00::1", "10.2.0.1")] == [True, True, False]
    environment.setenv("HEADRACE_WEBHOOK_ALLOW_NETWORKS", '["10.1.0.0/99"]')
    with pytest.raises(ConfigurationError, match="HEADRACE_WEBHOOK_ALLOW_NETWORKS"):
        load_settings()


def test_a_key_needs_a_tenant(environment: pytest.MonkeyPatch) -> None:
    """An empty one means all tenants in a query of the analytics API."""
    environment.setenv("HEADRACE_API_KEYS", '{"k": {"tenant": ""}}')
    with pytest.raises(ConfigurationError, match="HEADRACE_API_KEYS"):
        load_settings()


def test_daily_budgets_are_exact() -> None:
    """Tenants and all of them together; money is decimal."""
    found = load_settings(daily_budgets={"acme": "0.1", "*": 25}).daily_budgets
    assert found == {"acme": Decimal("0.1"), "*": Decimal(25)}


@pytest.mark.parametrize(
    "budgets", [{"acme": 0}, {"acme": -1}, {"": 5}, {"acme": "1e10"}, {"acme": "NaN"}, {"acme": None}]
)
def test_a_budget_is_an_amount(budgets: dict[str, object]) -> None:
    """Nothing, less than nothing and typing errors are named."""
    with pytest.raises(ConfigurationError, match="HEADRACE_DAILY_BUDGETS"):
        load_settings(daily_budgets=budgets)


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"])
@pytest.mark.parametrize(
    "url",
    ["host/v1", "ftp://host", "https://", "http://[::1/v1", "http://h:99999", "http://h:x", "http://h/?a=b"],
)
def test_a_providers_address_is_one(environment: pytest.MonkeyPatch, variable: str, url: str) -> None:
    """One that no call could go to is named before any is made."""
    environment.setenv(variable, url)
    with pytest.raises(ConfigurationError, match=f"{variable}.*https://host/v1"):
        load_settings()


def test_a_providers_address_is_taken_as_it_is(environment: pytest.MonkeyPatch) -> None:
    """With a port, a path, or an IPv6 host."""
    for url in ("http://127.0.0.1:8001/v1", "https://api.example/a/b/", "http://[::1]:8000"):
        environment.setenv("OPENAI_BASE_URL", url)
        assert load_settings().openai_base_url == url

"""The fields of the settings, one class for each process that reads them."""

from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, SecretStr

from streams.events import MAX_DEADLINE_MS
from streams.model_catalogue import ProviderProtocol
from streams.topics import MAX_BODY_BYTES
from streams.webhooks.signing import signing_keys

#: How long everybody's data stay, in days: the TTL of `payloads_raw`, and that of `requests_raw` (13 months).
TEXT_DAYS = 30
REQUEST_DAYS = 395

#: The types of personal data that are recognised.
PiiType = Literal["email", "credit_card", "ssn", "iban", "ip", "phone"]
PII_TYPES: frozenset[PiiType] = frozenset(get_args(PiiType))
InjectionSource = Literal["user", "tool", "assistant", "system", "developer", "variables", "tools"]


def is_http_address(url: str) -> bool:
    """Whether this is the address of a server that paths can be appended to."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of a port, or of an IPv6 address
        return False
    return bool(good) and not parts.query and not parts.fragment


def _http_address(url: str) -> str:
    if not is_http_address(url):
        raise ValueError("must be an address such as https://host/v1, without a query")
    return url


#: The address of a server that paths are appended to.
HttpAddress = Annotated[str, AfterValidator(_http_address)]


class ApiKey(BaseModel):
    """The owner of an API key."""

    tenant: str = Field(default="default", min_length=1)
    tier: str = "unlimited"


class ServiceSettings(BaseModel):
    """What every process needs."""

    kafka_bootstrap: str = Field(description="host:port of a Kafka broker; several separated by commas")
    redis_url: str = Field(description="redis://host:port/db")
    clickhouse_url: str = Field(description="http://user:password@host:port")
    clickhouse_database: str = "headrace"
    clickhouse_cluster: str = ""
    clickhouse_insert_quorum: str = Field("auto", pattern=r"^(auto|\d)$")
    clickhouse_reader_url: SecretStr | None = None

    # API keys
    api_key: SecretStr | None = Field(None, description="one API key, for the tenant 'default'")
    api_keys: dict[str, ApiKey] = Field(default_factory=dict)
    admin_key: SecretStr | None = Field(None, description="the key for the admin routes")
    cors_origins: tuple[str, ...] = ()

    # Topics and records
    topic_partitions: int = Field(4, ge=1)
    topic_replication: int = Field(1, ge=1)
    reply_topics: tuple[str, ...] = ()
    record_keys: tuple[Annotated[SecretStr, Field(min_length=32)], ...] = ()
    record_signing: Literal["required", "off"] = "required"
    kafka_timeout_s: float = Field(15.0, gt=0)
    redis_timeout_s: float = Field(2.0, gt=0)
    registry_ttl_s: int = Field(24 * 3600, ge=60, description="how long a reply can be fetched again")

    # Logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @property
    def keys(self) -> dict[str, ApiKey]:
        """Every accepted API key and its owner."""
        keys = dict(self.api_keys)
        if self.api_key is not None:
            keys.setdefault(self.api_key.get_secret_value(), ApiKey())
        return keys


class RequestSettings(BaseModel):
    """Limits and defaults of requests."""

    max_tokens_per_request: int = Field(4096, ge=1, description="the most output tokens a request may ask")
    extra_parameters: tuple[str, ...] = ()
    max_input_tokens: int = Field(100_000, ge=1)
    default_max_tokens: int = Field(1024, ge=1)
    default_temperature: float = Field(0.7, ge=0, le=2)
    default_deadline_ms: int = Field(60_000, ge=1, le=MAX_DEADLINE_MS)
    on_disconnect: Literal["continue", "cancel"] = "continue"
    max_body_bytes: int = Field(MAX_BODY_BYTES, ge=1024, le=MAX_BODY_BYTES)

    # Embeddings requests (the cache's own embeddings: `embeddings`)
    embedding_max_inputs: int = Field(128, ge=1, le=256)
    embedding_in_flight: int = Field(64, ge=1)
    embedding_ttl_s: int = Field(600, ge=60)


class WebhookSettings(BaseModel):
    """Where webhooks may go, and how they are sent."""

    webhook_secret: SecretStr | None = None
    webhook_allow_http: bool = Field(default=False, description="whether a webhook's URL may be http")
    webhook_allow_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    webhook_own_services: tuple[str, ...] = ()
    webhook_attempts: int = Field(9, ge=1, le=20, description="tries before a webhook becomes a dead letter")
    webhook_timeout_s: float = Field(10.0, gt=0, le=60, description="what one try may take")
    webhook_in_flight: int = Field(64, ge=1, description="webhooks that a worker sends at once")
    webhook_per_host: int = Field(8, ge=1, description="of these, of one tenant to one host")
    webhook_max_waiting_bytes: int = Field(128 * 1024 * 1024, ge=1024)

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The keys that sign webhooks; none where there are no webhooks."""
        return signing_keys(self.webhook_secret.get_secret_value()) if self.webhook_secret else ()


class IngestSettings(BaseModel):
    """What only ingest needs."""

    ingest_host: str = "127.0.0.1"
    ingest_port: int = Field(8000, ge=0, le=65535)
    ingest_replica: Annotated[int, Field(ge=0)] = 0
    ingest_replicas: Annotated[int, Field(ge=1)] = 1
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    max_concurrent_requests: int = Field(2_000, ge=1, description="requests that one ingest holds open")
    stream_token_secret: SecretStr | None = Field(None, min_length=32)
    stream_token_ttl_s: int = Field(900, ge=10, le=86_400, description="how long a stream token is good")


class WorkerSettings(BaseModel):
    """What the stages need."""

    # Providers
    openai_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("OPENAI_API_KEY"))
    openai_base_url: HttpAddress | None = Field(None, validation_alias=AliasChoices("OPENAI_BASE_URL"))
    anthropic_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("ANTHROPIC_API_KEY"))
    anthropic_base_url: HttpAddress | None = Field(None, validation_alias=AliasChoices("ANTHROPIC_BASE_URL"))
    default_model: str = "gpt-4o"
    fallback_models: tuple[str, ...] = ("claude-sonnet-4-20250514", "gpt-4o", "gpt-4o-mini")
    provider_connect_timeout_s: float = Field(5.0, gt=0)
    provider_timeout_s: float = Field(30.0, gt=0, description="until the first token, and between two tokens")
    provider_total_timeout_s: float = Field(600.0, gt=0)
    provider_tries: int = Field(3, ge=1, le=10, description="tries per model before the next one")
    breaker_threshold: int = Field(5, ge=1, description="faults in a row that open a model's circuit")
    breaker_reset_s: float = Field(15.0, gt=0, description="how long an open circuit stays open")

    # Input check
    injection_sources: tuple[InjectionSource, ...] = ("user", "tool", "variables")

    # Output check
    output_redact: tuple[PiiType, ...] = ("email", "credit_card", "ssn", "iban", "phone")
    output_block: tuple[PiiType, ...] = ()

    # Cache
    embeddings: Literal["minilm", "off"] = "minilm"
    cache_threshold: float = Field(0.92, ge=0, le=1, description="cosine from which a paraphrase is a hit")
    cache_ttl_s: int = Field(3600, ge=1)
    cache_max_entries: int = Field(10_000, ge=1, description="answers kept per tenant")
    cache_max_temperature: float = Field(1.0, ge=0, le=2)

    # Delivery
    instance_id: str = Field("worker-0", min_length=1, description="stable name of this replica")
    guardrail_in_flight: int = Field(64, ge=1)
    llm_in_flight: int = Field(256, ge=1)
    stage_in_flight: int = Field(128, ge=1, description="events in flight in each of the other stages")
    retry_in_place_s: float = Field(5.0, gt=0)
    retry_attempts: int = Field(12, ge=1)
    retry_max_delay_s: float = Field(10.0, gt=0, le=30, description="the longest time it is put aside for")
    max_replays: int = Field(3, ge=1, description="how often `headrace dlq` replays one dead letter")
    worker_host: str = "127.0.0.1"
    worker_port: int = Field(0, ge=0, le=65535)
    stall_timeout_s: float = Field(120.0, gt=0)
    revoke_drain_s: float = Field(0.75, gt=0, lt=60)
    drain_timeout_s: float = Field(40.0, gt=0, description="what a stage may take to drain; below 60")

    def provider_key(self, provider: ProviderProtocol) -> str | None:
        """Return the API key for `provider`, or None where it is not configured."""
        secrets = {
            ProviderProtocol.OPENAI: self.openai_api_key,
            ProviderProtocol.ANTHROPIC: self.anthropic_api_key,
        }
        secret = secrets[provider]
        return secret.get_secret_value() if secret else None


class TenantRules(BaseModel):
    """How a tenant's data differ from everybody else's; what is not given is as for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store_text: bool | None = Field(default=None, description="whether its texts go to ClickHouse")
    text_retention_days: int | None = Field(
        default=None, ge=1, le=TEXT_DAYS, description="how long they stay there"
    )
    retention_days: int | None = Field(
        default=None, ge=1, le=REQUEST_DAYS, description="how long anything of its requests stays there"
    )


class AnalyticsSettings(BaseModel):
    """What only analytics needs."""

    analytics_host: str = "127.0.0.1"
    analytics_port: int = Field(8100, ge=0, le=65535)
    store_text: bool = True
    tenants: dict[str, TenantRules] = Field(default_factory=dict)
    sink_batch_rows: int = Field(10_000, ge=1)
    sink_batch_seconds: float = Field(1.0, gt=0)
    rollup_seconds: float = Field(15.0, gt=0, description="the least pause between two runs of the rollups")
    clickhouse_timeout_s: float = Field(30.0, gt=0)
    feedback_wait_s: float = Field(900.0, ge=1, le=86_400)
    analyst_queries: int = Field(4, ge=1, le=64, description="analysts' queries that run at once")
    analyst_timeout_s: float = Field(20.0, gt=0, le=60, description="what one of them may take")
    analyst_result_rows: int = Field(100_000, ge=1, description="the most rows of one result")
    analyst_result_bytes: int = Field(128 * 1024 * 1024, ge=1024, le=1024**3)
    analyst_memory_bytes: int = Field(1024**3, ge=1024**2, le=2 * 1024**3)
    daily_budgets: dict[str, Decimal] = Field(default_factory=dict)
    alerts: bool = Field(default=True, description="whether analytics watches, and writes llm.alerts.v1")
    alert_window_s: int = Field(900, ge=1, le=86_400, description="length of the windows that are judged")
    alert_history_days: int = Field(28, ge=7, le=90, description="how far back the same hours are looked at")
    alert_min_requests: int = Field(50, ge=1, description="a window with fewer requests is not judged")
    alert_stale_s: float = Field(300.0, gt=0)
    alert_lag_records: int = Field(100_000, ge=1)

    @property
    def text_by_tenant(self) -> dict[str, bool]:
        """Whether texts are stored, of the tenants that have a rule for it."""
        return {
            name: rules.store_text for name, rules in self.tenants.items() if rules.store_text is not None
        }

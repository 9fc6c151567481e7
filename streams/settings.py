"""Settings, read from the environment (or `.env`) once, at the start of a process.

Every variable is `HEADRACE_…`, but for the providers' own (`OPENAI_API_KEY` and the like), which keep
the names their SDKs use. `.env.example` lists them all.
"""

import re
from decimal import Decimal
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from streams.erasure.personal_data import PiiType
from streams.errors import ConfigurationError
from streams.events import MAX_DEADLINE_MS
from streams.kafka.record_sizes import MAX_BODY_BYTES
from streams.models import MODELS, ProviderName
from streams.webhooks.own_services import Service, own_services
from streams.webhooks.signing import signing_keys
from streams.webhooks.targets import Targets

_PREFIX = "HEADRACE_"
_DAY_S = 86_400
#: More than that no row can cost: a typing error.
_MOST_USD = 1_000_000_000
#: How long everybody's data stay: the TTL of `payloads_raw`, and that of `requests_raw` (13 months).
TEXT_DAYS = 30
REQUEST_DAYS = 395
InjectionSource = Literal["user", "tool", "assistant", "system", "developer", "variables", "tools"]
_FIELD = re.compile(r'field "(\w+)"')


class ApiKey(BaseModel):
    """Whose key it is."""

    tenant: str = Field(default="default", min_length=1)
    tier: str = "standard"


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


class Settings(BaseSettings):
    """Everything that differs between one installation and the next."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=".env",
        env_ignore_empty=True,  # compose files hand on what is not set as an empty variable
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # some of it is secret
    )

    # Where the parts are
    kafka_bootstrap: str = Field(description="host:port of a Kafka broker; several separated by commas")
    redis_url: str = Field(description="redis://host:port/db")
    clickhouse_url: str = Field(description="http://user:password@host:port")
    clickhouse_database: str = "headrace"
    clickhouse_cluster: str = Field(
        "", description="the cluster of replicas that the tables are on; empty: one server"
    )
    clickhouse_insert_quorum: str = Field(
        "auto", pattern=r"^(auto|\d)$", description="replicas that must have a row; auto: the majority"
    )
    clickhouse_reader_url: SecretStr | None = Field(
        None, description="the same for a user who can only read: analysts' queries run as that user"
    )

    # Keys of our own API
    api_key: SecretStr | None = Field(None, description="one API key, for the tenant 'default'")
    api_keys: dict[str, ApiKey] = Field(
        default_factory=dict, description='JSON: {"key": {"tenant": "acme", "tier": "enterprise"}}'
    )
    admin_key: SecretStr | None = Field(None, description="the key for the admin routes")
    cors_origins: tuple[str, ...] = Field(
        (), description='JSON list of origins, e.g. ["https://app.example"]'
    )
    stream_token_secret: SecretStr | None = Field(
        None, min_length=32, description="signs stream tokens; at least 32 characters"
    )
    stream_token_ttl_s: int = Field(900, ge=10, le=86_400, description="how long a stream token is good")

    # Providers
    openai_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("OPENAI_API_KEY"))
    openai_base_url: str | None = Field(None, validation_alias=AliasChoices("OPENAI_BASE_URL"))
    anthropic_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("ANTHROPIC_API_KEY"))
    anthropic_base_url: str | None = Field(None, validation_alias=AliasChoices("ANTHROPIC_BASE_URL"))
    default_model: str = "gpt-4o"
    fallback_models: tuple[str, ...] = ("claude-sonnet-4-20250514", "gpt-4o", "gpt-4o-mini")
    provider_connect_timeout_s: float = Field(5.0, gt=0)
    provider_timeout_s: float = Field(30.0, gt=0, description="until the first token, and between two tokens")
    provider_total_timeout_s: float = Field(
        600.0, gt=0, description="for a whole streamed answer; one that is not streamed has the time above"
    )
    provider_tries: int = Field(3, ge=1, le=10, description="tries per model before the next one")
    breaker_threshold: int = Field(5, ge=1, description="faults in a row that open a model's circuit")
    breaker_reset_s: float = Field(15.0, gt=0, description="how long an open circuit stays open")

    # Limits of a request
    max_tokens_per_request: int = Field(4096, ge=1, description="the most output tokens a request may ask")
    extra_parameters: tuple[str, ...] = Field(
        (),
        description="JSON list of parameters that are in nobody's SDK and go on as they are to models behind "
        'OpenAI\'s API, e.g. ["guided_json"] for vLLM',
    )
    max_input_tokens: int = Field(100_000, ge=1)
    default_max_tokens: int = Field(1024, ge=1)
    default_temperature: float = Field(0.7, ge=0, le=2)
    default_deadline_ms: int = Field(60_000, ge=1, le=MAX_DEADLINE_MS)
    on_disconnect: Literal["continue", "cancel"] = Field(
        "continue", description="what becomes of a request whose client has left"
    )
    max_body_bytes: int = Field(
        MAX_BODY_BYTES, ge=1024, le=MAX_BODY_BYTES, description="of a request; later stages hold it twice"
    )

    # Embeddings for clients (the cache's own are `embeddings`, below)
    embedding_max_inputs: int = Field(
        128,
        ge=1,
        le=256,
        description="texts in one request; 256 of the longest vectors make a record of 4 MiB",
    )
    embedding_in_flight: int = Field(64, ge=1)
    embedding_ttl_s: int = Field(
        600, ge=60, description="how long the vectors of a reply can be fetched again; they are kept in Redis"
    )

    # Input check
    injection_sources: tuple[InjectionSource, ...] = Field(
        ("user", "tool", "variables"),
        description="JSON list of whose texts are looked through for injections: roles of messages, the "
        "variables of templates, and tools (their definitions, and the format of the answer)",
    )

    # Output check
    output_redact: tuple[PiiType, ...] = Field(
        ("email", "credit_card", "ssn", "iban", "phone"),
        description="JSON list of the types of personal data that are replaced in answers",
    )
    output_block: tuple[PiiType, ...] = Field(
        (), description="JSON list of the types that block an answer instead"
    )

    # Cache
    embeddings: Literal["minilm", "off"] = "minilm"
    cache_threshold: float = Field(0.92, ge=0, le=1, description="cosine from which a paraphrase is a hit")
    cache_ttl_s: int = Field(3600, ge=1)
    cache_max_entries: int = Field(10_000, ge=1, description="answers kept per tenant")
    cache_max_temperature: float = Field(
        1.0, ge=0, le=2, description="a request that asks for a higher temperature shares no answers"
    )

    # Topics and delivery
    topic_partitions: int = Field(4, ge=1)
    topic_replication: int = Field(1, ge=1)
    reply_topics: tuple[str, ...] = Field(
        (), description='JSON list of topics that senders may name in kafka_replyTopic, e.g. ["*.replies"]'
    )
    record_keys: tuple[Annotated[SecretStr, Field(min_length=32)], ...] = Field(
        (),
        description="JSON list of secrets: the first signs the records of our topics, all are believed",
    )
    record_signing: Literal["required", "off"] = Field(
        "required", description="off: who may write to a topic may write there what only Headrace should"
    )
    instance_id: str = Field("worker-0", min_length=1, description="stable name of this replica")
    guardrail_in_flight: int = Field(64, ge=1)
    llm_in_flight: int = Field(256, ge=1)
    stage_in_flight: int = Field(128, ge=1, description="events in flight in each of the other stages")
    retry_in_place_s: float = Field(
        5.0, gt=0, description="how long a stage itself waits for what is away, before it puts a record aside"
    )
    retry_attempts: int = Field(
        12, ge=1, description="how often a record is put aside before it becomes a dead letter"
    )
    retry_max_delay_s: float = Field(10.0, gt=0, le=30, description="the longest time it is put aside for")
    max_replays: int = Field(3, ge=1, description="how often `headrace dlq` replays one dead letter")
    worker_host: str = "127.0.0.1"
    worker_port: int = Field(
        0, ge=0, le=65535, description="where a worker answers /live, /ready and /metrics; 0: nowhere"
    )
    stall_timeout_s: float = Field(
        120.0, gt=0, description="without progress for so long, a worker with work counts as stuck"
    )
    revoke_drain_s: float = Field(
        0.75,
        gt=0,
        lt=60,
        description="what a stage may take to drain when its partitions are shared out anew",
    )
    drain_timeout_s: float = Field(40.0, gt=0, description="what a stage may take to drain; below 60")
    kafka_timeout_s: float = Field(15.0, gt=0)
    redis_timeout_s: float = Field(2.0, gt=0)
    webhook_secret: SecretStr | None = Field(
        None, description="signs webhooks: whsec_ and 24 to 64 random bytes in base64; none: no webhooks"
    )
    webhook_allow_http: bool = Field(default=False, description="whether a webhook's URL may be http")
    webhook_allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description='JSON list of private networks that webhooks may reach, e.g. ["10.1.0.0/16"]'
    )
    webhook_own_services: tuple[str, ...] = Field(
        (),
        description='JSON list of further services that no webhook may reach, e.g. ["ingest:8000"]; those '
        "that the settings name are known",
    )
    webhook_attempts: int = Field(9, ge=1, le=20, description="tries before a webhook becomes a dead letter")
    webhook_timeout_s: float = Field(10.0, gt=0, le=60, description="what one try may take")
    webhook_in_flight: int = Field(64, ge=1, description="webhooks that a worker sends at once")
    webhook_per_host: int = Field(8, ge=1, description="of these, of one tenant to one host")
    webhook_max_waiting_bytes: int = Field(
        128 * 1024 * 1024,
        ge=1024,
        description="what may wait in Redis; of one tenant for one host, a quarter of it",
    )
    registry_ttl_s: int = Field(24 * 3600, ge=60, description="how long a reply can be fetched again")

    # Ingest
    ingest_host: str = "127.0.0.1"
    ingest_port: int = Field(8000, ge=0, le=65535)
    ingest_replica: Annotated[int, Field(ge=0)] = 0
    ingest_replicas: Annotated[int, Field(ge=1)] = 1
    max_concurrent_requests: int = Field(2_000, ge=1, description="requests that one ingest holds open")

    # Analytics
    analytics_host: str = "127.0.0.1"
    analytics_port: int = Field(8100, ge=0, le=65535)
    store_text: bool = Field(
        default=True, description="whether texts of requests and replies go to ClickHouse"
    )
    tenants: dict[str, TenantRules] = Field(
        default_factory=dict, description='JSON: {"acme": {"store_text": false, "retention_days": 90}}'
    )
    sink_batch_rows: int = Field(10_000, ge=1)
    sink_batch_seconds: float = Field(0.5, gt=0)
    rollup_seconds: float = Field(15.0, gt=0, description="the least pause between two runs of the rollups")
    clickhouse_timeout_s: float = Field(30.0, gt=0)
    feedback_wait_s: float = Field(
        900.0,
        ge=1,
        le=86_400,
        description="how long feedback waits for its request's row before it is a dead letter",
    )
    analyst_queries: int = Field(4, ge=1, le=64, description="analysts' queries that run at once")
    analyst_timeout_s: float = Field(20.0, gt=0, le=60, description="what one of them may take")
    analyst_result_rows: int = Field(100_000, ge=1, description="the most rows of one result")
    analyst_result_bytes: int = Field(
        128 * 1024 * 1024, ge=1024, le=1024**3, description="the most bytes of one result, unformatted"
    )
    analyst_memory_bytes: int = Field(
        1024**3, ge=1024**2, le=2 * 1024**3, description="what ClickHouse may use for one query"
    )
    daily_budgets: dict[str, Decimal] = Field(
        default_factory=dict,
        description='JSON: {"acme": 5, "*": 100}, US dollars a tenant means to spend a day; *: all together',
    )
    alerts: bool = Field(default=True, description="whether analytics watches, and writes llm.alerts.v1")
    alert_window_s: int = Field(900, ge=1, le=86_400, description="length of the windows that are judged")
    alert_history_days: int = Field(28, ge=7, le=90, description="how far back the same hours are looked at")
    alert_min_requests: int = Field(50, ge=1, description="a window with fewer requests is not judged")
    alert_stale_s: float = Field(
        300.0, gt=0, description="age of a log record that is not stored, from which it is an alert"
    )
    alert_lag_records: int = Field(
        100_000, ge=1, description="log records not stored, from which it is an alert"
    )

    # Logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in (self.default_model, *self.fallback_models):
            if name not in MODELS:
                raise ValueError(f"unknown model {name!r}; known models: {', '.join(sorted(MODELS))}")
        for tenant, usd in self.daily_budgets.items():
            if not (tenant and usd.is_finite() and 0 < usd <= _MOST_USD):
                raise ValueError(
                    f"HEADRACE_DAILY_BUDGETS: {tenant!r} must be a tenant (or *) with an amount above 0 and "
                    f"up to {_MOST_USD:,} US dollars a day; leave out who has no budget"
                )
        if _DAY_S % self.alert_window_s:
            raise ValueError("HEADRACE_ALERT_WINDOW_S must divide a day, e.g. 300, 900 or 3600")
        if self.ingest_replica >= self.ingest_replicas:
            raise ValueError(
                "HEADRACE_INGEST_REPLICA must be below HEADRACE_INGEST_REPLICAS (it counts from 0)"
            )
        try:
            _ = self.webhook_keys
        except ValueError as fault:
            raise ValueError(f"HEADRACE_WEBHOOK_SECRET {fault}") from None
        try:
            _ = self.webhook_targets
        except ValueError as fault:
            raise ValueError(f"HEADRACE_WEBHOOK_OWN_SERVICES: {fault}") from None
        return self

    @property
    def keys(self) -> dict[str, ApiKey]:
        """Every accepted API key and whose it is."""
        keys = dict(self.api_keys)
        if self.api_key is not None:
            keys.setdefault(self.api_key.get_secret_value(), ApiKey())
        return keys

    @property
    def text_by_tenant(self) -> dict[str, bool]:
        """Whether texts are stored, of the tenants that say so themselves."""
        return {
            name: rules.store_text for name, rules in self.tenants.items() if rules.store_text is not None
        }

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The keys that webhooks are signed with; none where there are no webhooks."""
        return signing_keys(self.webhook_secret.get_secret_value()) if self.webhook_secret else ()

    @cached_property
    def webhook_targets(self) -> Targets:
        """Where webhooks may be sent."""
        return Targets(
            enabled=self.webhook_secret is not None,
            allow_http=self.webhook_allow_http,
            networks=self.webhook_allow_networks,
            services=self._own_services(),
        )

    def _own_services(self) -> frozenset[Service]:
        reader = self.clickhouse_reader_url
        return own_services(
            kafka=self.kafka_bootstrap,
            redis=self.redis_url,
            clickhouse=[self.clickhouse_url, *([reader.get_secret_value()] if reader else [])],
            providers=[each for each in (self.openai_base_url, self.anthropic_base_url) if each],
            listening=[
                (self.ingest_host, self.ingest_port),
                (self.analytics_host, self.analytics_port),
                (self.worker_host, self.worker_port),
            ],
            others=self.webhook_own_services,
        )

    def provider_key(self, provider: ProviderName) -> str | None:
        """Return the API key for `provider`, or None where it is not configured."""
        secret = {ProviderName.OPENAI: self.openai_api_key, ProviderName.ANTHROPIC: self.anthropic_api_key}[
            provider
        ]
        return secret.get_secret_value() if secret else None


def load_settings(**overrides: object) -> Settings:
    """Read and check the settings.

    Raises:
        ConfigurationError: one line per wrong or missing variable, each with what it must be.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as fault:
        lines = [_explain(error["loc"], error["msg"], error["type"]) for error in fault.errors()]
        raise ConfigurationError("wrong settings:\n  " + "\n  ".join(lines)) from fault
    except SettingsError as fault:
        field = _FIELD.search(str(fault))
        variable = _PREFIX + field[1].upper() if field else "a variable"
        raise ConfigurationError(f"wrong settings:\n  {variable}: must be valid JSON") from fault


def _explain(location: tuple[int | str, ...], message: str, kind: str) -> str:
    if not location:
        return message.removeprefix("Value error, ")
    field = str(location[0])
    variable = field if field.isupper() else _PREFIX + field.upper()
    if kind == "missing":
        info = Settings.model_fields.get(field)
        return f"{variable} is not set ({info.description if info else 'required'})"
    return f"{variable}: {message}"

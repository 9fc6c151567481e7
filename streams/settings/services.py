"""Settings of every process: where Kafka, Redis and ClickHouse are, API keys, topics, logs."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr


class ApiKey(BaseModel):
    """The owner of an API key."""

    tenant: str = Field(default="default", min_length=1)
    tier: str = "standard"


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

"""Settings of `headrace worker`: providers, checks, the cache, and how records are worked off."""

from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, SecretStr

from streams.erasure.personal_data import PiiType
from streams.models import ProviderName

InjectionSource = Literal["user", "tool", "assistant", "system", "developer", "variables", "tools"]


class WorkerSettings(BaseModel):
    """What the stages need."""

    # Providers
    openai_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("OPENAI_API_KEY"))
    openai_base_url: str | None = Field(None, validation_alias=AliasChoices("OPENAI_BASE_URL"))
    anthropic_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("ANTHROPIC_API_KEY"))
    anthropic_base_url: str | None = Field(None, validation_alias=AliasChoices("ANTHROPIC_BASE_URL"))
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

    def provider_key(self, provider: ProviderName) -> str | None:
        """Return the API key for `provider`, or None where it is not configured."""
        secrets = {ProviderName.OPENAI: self.openai_api_key, ProviderName.ANTHROPIC: self.anthropic_api_key}
        secret = secrets[provider]
        return secret.get_secret_value() if secret else None

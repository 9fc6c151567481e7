"""Settings of webhooks: ingest checks their addresses, the worker sends them."""

from ipaddress import IPv4Network, IPv6Network

from pydantic import BaseModel, Field, SecretStr

from streams.webhooks.signing import signing_keys


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

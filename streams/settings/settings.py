"""Every setting, and how they are read and checked: `load_settings`."""

import re
from functools import cached_property
from typing import Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from streams.errors import ConfigurationError
from streams.settings.fields import (
    AnalyticsSettings,
    IngestSettings,
    RequestSettings,
    ServiceSettings,
    WebhookSettings,
    WorkerSettings,
)
from streams.webhooks.targets import Targets, own_services

_PREFIX = "HEADRACE_"
_DAY_S = 86_400
#: No daily budget is larger: it would be a typing error.
_MAX_BUDGET_USD = 1_000_000_000
_FIELD = re.compile(r'field "(\w+)"')


class Settings(
    AnalyticsSettings,
    IngestSettings,
    WebhookSettings,
    WorkerSettings,
    RequestSettings,
    ServiceSettings,
    BaseSettings,
):
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        for tenant, usd in self.daily_budgets.items():
            if not (tenant and usd.is_finite() and 0 < usd <= _MAX_BUDGET_USD):
                raise ValueError(
                    f"HEADRACE_DAILY_BUDGETS: {tenant!r} must be a tenant (or *) with an amount above 0 and "
                    f"up to {_MAX_BUDGET_USD:,} US dollars a day; leave out who has no budget"
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

    @cached_property
    def webhook_targets(self) -> Targets:
        """Where webhooks may be sent."""
        reader = self.clickhouse_reader_url
        services = own_services(
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
        return Targets(
            enabled=self.webhook_secret is not None,
            allow_http=self.webhook_allow_http,
            networks=self.webhook_allow_networks,
            services=services,
        )


def load_settings(**overrides: object) -> Settings:
    """Read and check the settings.

    The `ConfigurationError` has one line per wrong or missing variable, each with what it must be.
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

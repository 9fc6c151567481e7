"""Settings of `headrace analytics`: the sink, rollups, analysts' queries, alerts, retention."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

#: How long everybody's data stay, in days: the TTL of `payloads_raw`, and that of `requests_raw` (13 months).
TEXT_DAYS = 30
REQUEST_DAYS = 395


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
    sink_batch_seconds: float = Field(0.5, gt=0)
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

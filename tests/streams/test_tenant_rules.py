"""Tenants whose data are kept otherwise."""

import pytest

from streams.errors import ConfigurationError
from streams.settings import Settings, TenantRules, load_settings

PARTS = {
    "kafka_bootstrap": "127.0.0.1:9092",
    "redis_url": "redis://127.0.0.1:6379/0",
    "clickhouse_url": "http://127.0.0.1:8123",
}


def settings(monkeypatch: pytest.MonkeyPatch, tenants: str) -> Settings:
    monkeypatch.setenv("HEADRACE_TENANTS", tenants)
    return load_settings(**PARTS)


def test_a_tenant_may_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not say is as for everybody."""
    found = settings(
        monkeypatch,
        '{"acme": {"store_text": false, "text_retention_days": 7, "retention_days": 90}, "globex": {}}',
    )
    assert found.tenants == {
        "acme": TenantRules(store_text=False, text_retention_days=7, retention_days=90),
        "globex": TenantRules(),
    }
    assert found.text_by_tenant == {"acme": False}


@pytest.mark.parametrize(
    ("tenants", "says"),
    [
        ("acme", "must be valid JSON"),
        ('{"acme": {"text_retention_days": 31}}', "less than or equal to 30"),  # the table keeps no longer
        ('{"acme": {"retention_days": 0}}', "greater than or equal to 1"),
        ('{"acme": {"retention": 7}}', "not permitted"),  # a typing error must not keep data for ever
    ],
)
def test_a_wrong_rule_is_refused(monkeypatch: pytest.MonkeyPatch, tenants: str, says: str) -> None:
    """At the start, not when the first day was due."""
    with pytest.raises(ConfigurationError, match=rf"HEADRACE_TENANTS: .*{says}"):
        settings(monkeypatch, tenants)

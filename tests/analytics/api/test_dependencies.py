"""Whose rows a key opens."""

import pytest

from analytics.api.dependencies import analyst_keys
from analytics.reports.query_service import TenantNotAllowed, TenantScope
from streams.errors import ConfigurationError
from streams.settings import ApiKey

KEYS = {"k-acme": ApiKey(tenant="acme"), "k-globex": ApiKey(tenant="globex", tier="enterprise")}


def test_a_key_opens_its_own_tenant_and_the_admins_all() -> None:
    """What is no key opens nothing."""
    keys = analyst_keys(KEYS, "k-admin")
    assert keys.owner("k-acme") == TenantScope("acme")
    assert keys.owner("k-globex") == TenantScope("globex")
    assert keys.owner("k-admin") == TenantScope(None)
    assert keys.owner("k-acm") is None
    assert keys.owner("") is None


def test_without_keys_nobody_may_ask() -> None:
    """The process still stores logs."""
    assert analyst_keys({}, None).owner("anything") is None


@pytest.mark.parametrize("asked", ["", "acme"])
def test_a_tenant_gets_its_own_rows_whatever_it_asks_for(asked: str) -> None:
    """The tenant of a query is the key's."""
    assert TenantScope("acme").narrowed(asked) == "acme"


@pytest.mark.parametrize("asked", ["globex", "ACME", " acme", "acme' OR 1 = 1 --", "%"])
def test_another_tenants_rows_are_refused(asked: str) -> None:
    """Rather than answered with the caller's own, which would be taken for the other's."""
    with pytest.raises(TenantNotAllowed, match="'acme' only") as refused:
        TenantScope("acme").narrowed(asked)
    assert refused.value.param == "tenant"


def test_the_admin_chooses() -> None:
    """All tenants, or one."""
    assert TenantScope(None).narrowed("") == ""
    assert TenantScope(None).narrowed("globex") == "globex"


def test_an_admin_key_that_a_tenant_has_too_is_refused() -> None:
    """Whoever of the two asked, one would get the other's rights."""
    with pytest.raises(ConfigurationError, match="HEADRACE_ADMIN_KEY"):
        analyst_keys(KEYS, "k-acme")


def test_a_key_without_a_tenant_is_refused() -> None:
    """An empty tenant means all of them in a query."""
    with pytest.raises(ConfigurationError, match="tenant"):
        analyst_keys({"k": ApiKey.model_construct(tenant="", tier="standard")}, None)


def test_an_empty_admin_key_is_refused() -> None:
    """It would let in whoever sends an empty key."""
    with pytest.raises(ConfigurationError, match="empty"):
        analyst_keys(KEYS, " ")

"""Whose rows a key opens."""

import pytest

from analytics.reports.query_service import TenantNotAllowed, TenantScope


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

"""Whom a request counts for."""

import pytest

from streams.control.specs import Bounds, LimitSpec
from streams.limits.subjects import Requester, subjects_of

BOUND = Bounds(requests_per_minute=5)
ALL = LimitSpec(per_key=BOUND, per_user=BOUND, per_tenant=BOUND, per_address=BOUND)
ADA = {"key": "key_1", "tenant": "acme", "tier": "free", "user": "ada", "address": "192.0.2.1"}


def digests(spec: LimitSpec = ALL, **changed: str) -> dict[str, str]:
    """The digest of each subject by its scope."""
    return {each.scope: each.digest for each in subjects_of(spec, Requester(**{**ADA, **changed}))}


def test_only_those_that_the_tier_limits() -> None:
    """The others cost nothing; a tier without limits counts nobody."""
    assert list(digests()) == ["key", "user", "tenant", "address"]
    assert list(digests(LimitSpec(per_tenant=Bounds(concurrent_requests=1)))) == ["tenant"]
    assert digests(LimitSpec()) == {}


def test_no_address_is_no_subject() -> None:
    """A socket of the machine's own has none."""
    who = Requester(key="key_1", tenant="acme", tier="free", user="ada")
    assert [each.scope for each in subjects_of(ALL, who)] == ["key", "user", "tenant"]


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"key": "key_2"}, {"user", "tenant", "address"}),
        ({"user": "bob"}, {"key", "tenant", "address"}),
        ({"address": "192.0.2.2"}, {"key", "user", "tenant"}),
        ({"tier": "standard"}, {"key", "user"}),
        ({"tenant": "zeta"}, {"address"}),
    ],
)
def test_who_counts_together(changed: dict[str, str], same: set[str]) -> None:
    """A user over the tenant's keys; a tenant and an address within a tier; nobody across tenants."""
    before, after = digests(), digests(**changed)
    assert {scope for scope in before if before[scope] == after[scope]} == same


def test_names_cannot_run_together() -> None:
    """Neither do two names give the same key, nor does a long one make a long key."""
    assert digests(tenant="a", user="b:c")["user"] != digests(tenant="a:b", user="c")["user"]
    assert digests(tenant='a","b', user="c")["user"] != digests(tenant="a", user='b","c')["user"]
    assert digests(user="acme", key="acme")["user"] != digests(user="acme", key="acme")["key"]
    assert len(digests(user="x" * 256)["user"]) == 27

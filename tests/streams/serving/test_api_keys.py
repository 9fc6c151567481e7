"""Whose key it is, and what it opens."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from streams.control.state import ControlState
from streams.errors import ConfigurationError
from streams.serving.api_keys import ApiKeys, Caller, digest_of_key, new_key
from streams.serving.responses import ApiError
from tests.fakes.model_records import record, state_of
from tests.fakes.settings import settings_of

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
ADA = Caller("acme", "free")


def recorded(**specs: Mapping[str, Any]) -> ControlState:
    """Control records of keys, by id."""
    return state_of(*(record("key", name, dict(spec)) for name, spec in specs.items()))


def status_of(keys: ApiKeys, presented: str | None) -> tuple[int, str]:
    """The status and code of the refusal of a key."""
    with pytest.raises(ApiError) as refused:
        keys.caller(presented)
    return refused.value.status, refused.value.error.code


def test_a_key_is_found_by_its_whole_text() -> None:
    """Neither a part of it nor another case will do."""
    keys = ApiKeys({"one-key": ADA, "schlüssel-🔑": Caller("b", "")})
    assert [keys.caller(each).tenant for each in ("one-key", "schlüssel-🔑")] == ["acme", "b"]
    for wrong in ("one-ke", "one-keyy", "ONE-KEY", " one-key", "schl\udcfcssel", "", None):
        assert status_of(keys, wrong) == (401, "invalid_api_key")


def test_the_keys_themselves_are_not_kept() -> None:
    """What does not hold them cannot show them."""
    keys = ApiKeys({"a-secret": ADA})
    assert "a-secret" not in repr(vars(keys))


@pytest.mark.parametrize("key", ["", " ", "\t"])
def test_an_empty_key_is_refused(key: str) -> None:
    """It would let in whoever sends an empty header."""
    with pytest.raises(ConfigurationError, match="must not be empty"):
        ApiKeys({"good": ADA, key: ADA})


def test_a_key_without_a_tenant_is_refused() -> None:
    """An empty tenant means all of them in a query."""
    with pytest.raises(ConfigurationError, match="tenant"):
        ApiKeys({"k": Caller("", "free")})


def test_an_admin_key_that_a_tenant_has_too_is_refused() -> None:
    """Whoever of the two asked, one would get the other's rights."""
    with pytest.raises(ConfigurationError, match="HEADRACE_ADMIN_KEY"):
        ApiKeys.of(settings_of(api_key="k", admin_key="k"))


def test_the_keys_of_the_settings() -> None:
    """One for the default tenant, without limits; any number with tenant and tier; the admin's."""
    keys = ApiKeys.of(
        settings_of(api_key="a", api_keys={"b": {"tenant": "acme", "tier": "free"}}, admin_key="root")
    )
    assert keys.caller("a") == Caller("default", "unlimited", key="env_ca978112ca1b")
    assert keys.caller("b") == msgspec.structs.replace(ADA, key="env_3e23e8160039")
    assert (keys.caller("root").scopes, keys.caller("root").key) == (("admin",), "")


def test_recorded_keys_come_and_go_while_the_settings_keys_stay() -> None:
    """What was revoked is unknown; the id goes with the caller."""
    key_id, key = new_key()
    keys = ApiKeys({"given": ADA})
    spec = {"sha256": digest_of_key(key), "tenant": "t", "tier": "free", "user": "u"}
    keys.follow(recorded(**{key_id: spec}))
    assert keys.caller(key) == Caller("t", "free", ("chat", "read"), "u", key_id)
    assert keys.named(key_id) == keys.caller(key)
    assert keys.named("") is None
    assert keys.has_tenant("t")
    keys.follow(ControlState())
    assert status_of(keys, key) == (401, "invalid_api_key")
    assert not keys.has_tenant("t")
    assert keys.caller("given") == ADA
    assert keys
    assert not ApiKeys({})


def test_a_key_ends_when_it_expires() -> None:
    """To the moment, and the answer says when."""
    now = [NOON]
    keys = ApiKeys({}, clock=lambda: now[0])
    spec = {"sha256": digest_of_key("k"), "tenant": "t", "tier": "free", "expires_at": "2026-12-01T12:00:01Z"}
    keys.follow(recorded(key_a=spec))
    assert keys.caller("k").key == "key_a"
    assert keys.has_tenant("t")
    now[0] = datetime(2026, 12, 1, 12, 0, 1, tzinfo=UTC)
    with pytest.raises(ApiError, match="expired at 2026-12-01T12:00:01") as refused:
        keys.caller("k")
    assert refused.value.status == 401
    assert not keys.has_tenant("t")


def test_a_scope_that_a_key_lacks() -> None:
    """403, with those that it has."""
    ADA.check_scope("read")
    with pytest.raises(ApiError, match=r"no scope 'admin'; it has: chat, read") as refused:
        ADA.check_scope("admin")
    assert (refused.value.status, refused.value.error.type) == (403, "permission_error")


def test_a_key_of_a_user_speaks_for_nobody_else() -> None:
    """A request without a user is the key's user's."""
    bound = Caller("acme", "free", user="ann")
    assert [bound.speaks_for(each) for each in ("ann", "anonymous")] == ["ann", "ann"]
    with pytest.raises(ApiError, match="speaks for the user 'ann' only") as refused:
        bound.speaks_for("bob")
    assert refused.value.status == 403
    assert ADA.speaks_for("bob") == "bob"
    ADA.check_whole_tenant()
    with pytest.raises(ApiError, match="does not see what others of its tenant did") as refused:
        bound.check_whole_tenant()
    assert refused.value.status == 403


def test_new_keys_are_long_and_never_the_same() -> None:
    """32 random bytes, and a prefix by which a scanner of repositories knows them."""
    made = {new_key() for _ in range(100)}
    assert len({key for _, key in made}) == len({key_id for key_id, _ in made}) == 100
    assert all(key.startswith("hr_") and len(key) == 46 for _, key in made)

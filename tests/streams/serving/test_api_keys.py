"""Whose key it is."""

import pytest

from streams.errors import ConfigurationError
from streams.serving.api_keys import Caller, KeyTable, sender_keys
from streams.settings import ApiKey


def test_a_key_is_found_by_its_whole_text() -> None:
    """Neither a part of it nor another case will do."""
    table = KeyTable({"one-key": 1, "another-key": 2})
    assert [table.owner(key) for key in ("one-key", "another-key")] == [1, 2]
    assert [table.owner(key) for key in ("one-ke", "one-keyy", "ONE-KEY", "", " one-key")] == [None] * 5


def test_keys_may_hold_any_text() -> None:
    """Also what a header's bytes become that are no UTF-8."""
    table = KeyTable({"schlüssel-🔑": "a"})
    assert table.owner("schlüssel-🔑") == "a"
    assert table.owner("schl\udcfcssel") is None


def test_the_keys_themselves_are_not_kept() -> None:
    """What does not hold them cannot show them."""
    table = KeyTable({"a-secret": "a"})
    assert "a-secret" not in repr(vars(table))


@pytest.mark.parametrize("key", ["", " ", "\t"])
def test_an_empty_key_is_refused(key: str) -> None:
    """It would let in whoever sends an empty header."""
    with pytest.raises(ConfigurationError, match="must not be empty"):
        KeyTable({"good": 1, key: 2})


def test_a_keyring_needs_a_key() -> None:
    """An open door is never the default."""
    with pytest.raises(ConfigurationError, match="HEADRACE_API_KEY"):
        sender_keys({})
    ring = sender_keys({"k": ApiKey(tenant="acme", tier="enterprise")})
    assert ring.owner("k") == Caller("acme", "enterprise")
    assert ring.owner("x") is None

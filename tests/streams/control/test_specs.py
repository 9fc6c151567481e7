"""What control records may say, and how a wrong one is refused."""

from typing import Any

import pytest

from streams.control.specs import KINDS, SECTIONS, Bounds, InvalidControl, LimitSpec, read_spec


def test_a_right_one_is_read() -> None:
    """What it leaves out has no limit."""
    found = read_spec("limit", "free", {"per_user": {"requests_per_minute": 10}})
    assert found == LimitSpec(per_user=Bounds(requests_per_minute=10))


@pytest.mark.parametrize(
    ("kind", "spec", "told"),
    [
        ("limit", {"per_usr": {}}, r"^limits\.x: .*unknown field `per_usr`"),
        ("limit", {"per_user": {"rpm": 1}}, r"^limits\.x\.per_user: .*unknown field `rpm`"),
        (
            "limit",
            {"per_user": {"requests_per_minute": 0}},
            r"^limits\.x\.per_user\.requests_per_minute: ",
        ),
        ("limit", {"per_user": {"requests_per_minute": "10"}}, r"requests_per_minute: Expected `int"),
        ("limit", {"per_user": {"requests_per_minute": True}}, r"requests_per_minute: Expected `int"),
        ("limit", [], r"^limits\.x: Expected `object`"),
        ("key", {"tenant": "t", "tier": "free"}, r"^keys\.x: .*missing required field `sha256`"),
        ("key", {"sha256": "0" * 63, "tenant": "t", "tier": "free"}, r"^keys\.x\.sha256: "),
        ("key", {"sha256": "0" * 64 + "\n", "tenant": "t", "tier": "free"}, r"^keys\.x\.sha256: "),
        ("key", {"sha256": "0" * 64, "tenant": "", "tier": "free"}, r"^keys\.x\.tenant: "),
        ("key", {"sha256": "0" * 64, "tenant": "t", "tier": "free", "scopes": ["root"]}, r"scopes\[0\]: "),
        ("key", {"sha256": "0" * 64, "tenant": "t", "tier": "free", "scopes": []}, r"^keys\.x\.scopes: "),
        (
            "key",
            {"sha256": "0" * 64, "tenant": "t", "tier": "f", "expires_at": "2026-12-01"},
            "expires_at",
        ),
        ("prise", {}, "there is no kind 'prise'; there are: limit, key, issuer, provider, model"),
    ],
)
def test_a_wrong_one_is_refused_with_its_place(kind: str, spec: Any, told: str) -> None:
    """A misspelt limit would limit nothing."""
    with pytest.raises(InvalidControl, match=told):
        read_spec(kind, "x", spec)


def test_each_kind_has_a_section_of_its_own() -> None:
    """One word for each."""
    assert len(SECTIONS) == len(KINDS)

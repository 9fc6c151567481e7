"""The table of Redis keys."""

from pathlib import Path

import pytest

from streams.redis.keys import DIGEST_CHARS, FAMILIES, REQUEST, KeyFamily, digest
from streams.registry.registry import request_key

_DOCS = Path(__file__).parents[3] / "docs" / "redis.md"


@pytest.mark.parametrize("given", ["", "r-1", "é" * 300, "\ud800", "a:b\r\n*", "x" * 6_300_000, b"\xff"])
def test_whatever_an_id_is_its_key_has_one_length(given: str | bytes) -> None:
    """No sender decides how long a key is, or which characters are in it."""
    hashed = digest(given)
    assert len(hashed) == DIGEST_CHARS
    assert hashed.replace("-", "").replace("_", "").isalnum()


def test_other_ids_have_other_keys() -> None:
    """A request is found by its id and by nothing else."""
    ids = [f"r-{number}" for number in range(1_000)]
    assert len({request_key(each) for each in ids}) == len(ids)
    assert request_key("r-1") == REQUEST.key(digest("r-1"))


def test_no_family_hides_another() -> None:
    """Each key belongs to one row of the table."""
    for family in FAMILIES:
        assert [each for each in FAMILIES if family.key("x").startswith(each.prefix)] == [family]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.prefix)
def test_the_documentation_has_a_row_for_every_family(family: KeyFamily) -> None:
    """It says what bounds the number of those that never expire."""
    rows = [
        line for line in _DOCS.read_text(encoding="utf-8").splitlines() if f"| `{family.prefix}` |" in line
    ]
    assert len(rows) == 1
    assert ("| never; " in rows[0]) is not family.expires

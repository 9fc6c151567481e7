"""What the dependency audit makes of pip-audit's report."""

from datetime import date
from typing import Any

from scripts.advisories import IGNORED, ignored_advisories, verdict


def package(*, vulns: list[dict[str, Any]] | None = None, name: str = "lye") -> dict[str, Any]:
    """A package as pip-audit reports it; one that it could not ask about has no advisories at all."""
    if vulns is None:
        return {"name": name, "skip_reason": "Dependency not found"}
    return {"name": name, "version": "1.0", "vulns": vulns}


def advisory(*, fixed_in: list[str]) -> dict[str, Any]:
    """An advisory as pip-audit reports it."""
    return {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": fixed_in}


def test_a_vulnerability_that_a_newer_version_mends_fails() -> None:
    """And the version is named."""
    lines, failed = verdict([package(vulns=[advisory(fixed_in=["1.1"])])], frozenset())
    assert failed
    assert lines[0] == "lye 1.0: PYSEC-1, mended in 1.1"


def test_a_vulnerability_that_nobody_can_mend_is_told() -> None:
    """It fails nothing: there is nothing to be done but to know."""
    lines, failed = verdict([package(vulns=[advisory(fixed_in=[])])], frozenset())
    assert not failed
    assert "not mended yet" in lines[0]


def test_an_ignored_advisory_passes_until_its_day() -> None:
    """By any of its names."""
    text = "# why\n\nCVE-1 2026-12-24 we call nothing of it\n"
    found = [package(vulns=[advisory(fixed_in=["1.1"])])]
    assert not verdict(found, ignored_advisories(text, today=date(2026, 12, 23)))[1]
    assert verdict(found, ignored_advisories(text, today=date(2026, 12, 24)))[1]


def test_what_was_not_asked_is_not_called_clean() -> None:
    """An index without advisories fails nothing, and says so."""
    lines, failed = verdict([package(name="a"), package(name="b", vulns=[])], frozenset())
    assert not failed
    assert lines == ["advisories: none to be had for 1 of 2 packages: NOT audited"]
    assert verdict([], frozenset())[0][0].endswith("NOT audited")


def test_the_list_of_ignored_advisories_can_be_read() -> None:
    """The file in the tree has the form that is asked for."""
    ignored_advisories(IGNORED.read_text(encoding="utf-8"), today=date(2026, 1, 1))

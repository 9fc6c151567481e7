"""The command's words: what it asks for, and what it says where it cannot work."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.app import build_app
from headrace.embedded.process import free_port


def privacy(*arguments: str, environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(build_app(["privacy"]), ["privacy", *arguments], env=environ or {})


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Parts that are not there."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    return {
        "HEADRACE_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}",
        "HEADRACE_REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "HEADRACE_CLICKHOUSE_URL": f"http://127.0.0.1:{port}",
        "HEADRACE_KAFKA_TIMEOUT_S": "0.5",
    }


def test_nothing_is_erased_without_a_yes(nowhere: dict[str, str]) -> None:
    """Where nobody can be asked, it says what to add; no part is spoken to."""
    result = privacy("erase", "ann", "--tenant", "acme", environ=nowhere)
    assert result.exit_code == 2
    assert "there is no way back: add --yes to do it, or --dry-run" in result.stderr


def test_the_tenant_has_to_be_named() -> None:
    """A user id alone may be somebody of several tenants."""
    result = privacy("erase", "ann", "--yes")
    assert result.exit_code == 2
    assert "--tenant" in result.stderr


def test_a_part_that_is_away_is_named(nowhere: dict[str, str]) -> None:
    """And that it is to be run again."""
    result = privacy("erase", "ann", "--tenant", "acme", "--yes", environ=nowhere)
    assert result.exit_code == 2
    assert nowhere["HEADRACE_KAFKA_BOOTSTRAP"] in result.stderr
    assert "run the same command again" in result.stderr


def test_an_unknown_mode_is_refused() -> None:
    """With the modes that there are."""
    result = privacy("erase", "ann", "--tenant", "acme", "--mode", "forget")
    assert result.exit_code == 2
    assert "anonymise" in result.stderr

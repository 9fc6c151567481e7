"""The command line, as a user types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.app import build_app

COMMANDS = [
    *"up down status ingest worker analytics send audit report sql".split(),
    *("topics create", "dlq list", "dlq show", "dlq replay", "dlq discard", "privacy erase", "limits test"),
]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(arguments), list(arguments), env={"HEADRACE_DATA_DIR": ""})
    return result.exit_code, result.output


def test_help_names_every_command_and_where_to_begin() -> None:
    """Somebody who types `headrace` learns what to type next."""
    _, text = run("--help")
    for command in COMMANDS:
        assert command.split()[0] in text
    assert "headrace up" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    """Its help says what it does, and what to type."""
    code, text = run(*command.split(), "--help")
    assert code == 0
    assert len(text.splitlines()) > 4
    assert "Example: " in text
    assert f"headrace {command}" in text.partition("Example: ")[2]


def test_status_without_a_running_system(tmp_path: Path) -> None:
    """Exit code 3, and JSON that a script can read."""
    code, text = run("status", "--json", "--data-dir", str(tmp_path))
    assert code == 3
    assert json.loads(text) == {"running": False, "ready": False, "processes": []}


def test_down_without_a_running_system_is_no_error(tmp_path: Path) -> None:
    """Stopping twice is fine."""
    code, _ = run("down", "--data-dir", str(tmp_path))
    assert code == 0


def test_an_unknown_stage_is_named_with_the_known_ones() -> None:
    """`headrace worker gard` says what may be said."""
    code, text = run("worker", "gard")
    assert code == 2
    assert "guardrail" in text


def test_sending_to_nobody_says_how_to_start(tmp_path: Path) -> None:
    """Without a running system, `send` names the command that starts one."""
    result = CliRunner().invoke(build_app(["send"]), ["send", "hello", "--data-dir", str(tmp_path)])
    assert "headrace up" in str(result.exception)

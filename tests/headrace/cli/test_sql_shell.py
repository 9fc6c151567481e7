"""The shell of `headrace sql`: lines in, statements out."""

from collections.abc import Sequence

import pytest

from headrace.cli.clickhouse import run_shell


def asked(*lines: str | type[BaseException]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the statements that these lines lead to, and the prompts that the user saw."""
    left = list(lines)
    statements: list[str] = []
    prompts: list[str] = []

    def read(prompt: str) -> str:
        prompts.append(prompt.strip())
        line = left.pop(0) if left else EOFError
        if isinstance(line, str):
            return line
        raise line

    run_shell(read, statements.append)
    return statements, prompts


def test_a_statement_ends_with_a_semicolon_at_the_end_of_a_line() -> None:
    """Over as many lines as it takes; a semicolon within a line is part of it."""
    statements, prompts = asked("SELECT ';',", "", "  1;", "SELECT 2 ; ")
    assert statements == ["SELECT ';',\n\n  1", "SELECT 2"]
    assert prompts == ["headrace>", "...", "...", "headrace>", "headrace>"]


@pytest.mark.parametrize("word", ["exit", "quit;", "\\q", "EXIT"])
def test_words_that_leave(word: str) -> None:
    """Only where no statement is begun."""
    assert asked(word, "SELECT 1;")[0] == []
    assert asked("SELECT", word, ";")[0] in (["SELECT\n" + word.rstrip(";")], ["SELECT\n" + word])


def test_a_line_that_is_given_up() -> None:
    """Ctrl-C drops what was begun, and the shell goes on."""
    assert asked("SELECT wrong", KeyboardInterrupt, "SELECT 1;")[0] == ["SELECT 1"]


def test_what_was_not_ended_is_not_asked() -> None:
    """Ctrl-D in the middle of a statement; empty ones are nothing to ask."""
    assert asked("SELECT 1")[0] == []
    assert asked("", ";", "  ;  ")[0] == []

"""The read-only shell of `headrace sql`: statements in, tables out, until the end of the input."""

from collections.abc import Callable

_PROMPT, _CONTINUED = "headrace> ", "      ... "
_WORDS_TO_LEAVE = frozenset({"exit", "quit", "\\q", "exit;", "quit;"})


def run_shell(read: Callable[[str], str], ask: Callable[[str], None]) -> None:
    """Read statements, each up to a semicolon at the end of a line, and ask them one by one.

    A statement that was begun and not ended is not asked.

    `read` returns the next line, given a prompt; it raises `EOFError` at the end and `KeyboardInterrupt`
    where the user drops a line. `ask` says itself what went wrong.
    """
    lines: list[str] = []
    while True:
        try:
            line = read(_CONTINUED if lines else _PROMPT)
        except EOFError:
            return
        except KeyboardInterrupt:
            lines = []
            continue
        if not lines and line.strip().lower() in _WORDS_TO_LEAVE:
            return
        if line.strip() or lines:
            lines.append(line)
        if line.rstrip().endswith(";"):
            statement, lines = "\n".join(lines).strip().rstrip(";").strip(), []
            if statement:
                ask(statement)

"""The read-only shell of `headrace sql`: statements in, tables out, until the end of the input."""

from collections.abc import Callable

_PROMPT, _CONTINUED = "headrace> ", "      ... "
_WORDS_TO_LEAVE = frozenset({"exit", "quit", "\\q", "exit;", "quit;"})


class Shell:
    """Reads statements, each to its semicolon at the end of a line, and has them answered one by one.

    Args:
        read: returns the next line, given a prompt; raises `EOFError` at the end and `KeyboardInterrupt`
            where the user gives a line up.
        ask: answers a statement; it says itself what went wrong.
    """

    def __init__(self, read: Callable[[str], str], ask: Callable[[str], None]) -> None:
        self._read = read
        self._ask = ask

    def run(self) -> None:
        """Answer statements until the user leaves; what was begun and not ended is not asked."""
        lines: list[str] = []
        while True:
            try:
                line = self._read(_CONTINUED if lines else _PROMPT)
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
                    self._ask(statement)

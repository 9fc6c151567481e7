"""Text from outside, made safe for a terminal, and aligned tables of it."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size


def printable(text: str) -> str:
    """Return `text` with everything escaped that is not a visible character, such as control characters."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters."""
    line = printable(text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns, whatever the width of the terminal."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(set_cell_size, row, widths)).rstrip() for row in rows)
    return "".join(line + "\n" for line in lines)

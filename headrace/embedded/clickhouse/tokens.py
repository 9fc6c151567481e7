"""A scanner for ClickHouse SQL: enough to tell clauses from strings, comments and inline data.

It works on bytes, because an INSERT may be followed by binary data in the same buffer, and it is lazy,
so that the caller stops where the SQL ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
    (?P<space>   \s+ | --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/ )
  | (?P<string>  '(?:[^'\\]|\\.|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<quoted>  `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*" )
  | (?P<word>    [A-Za-z_\x80-\xff][\w\x80-\xff]* )
  | (?P<number>  \d[\w.]* )
  | (?P<symbol>  . )
    """,
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One lexical element.

    Attributes:
        kind: "word", "quoted", "string", "number" or "symbol".
        text: Its bytes as written.
        start: Offset of its first byte.
        end: Offset after its last byte.
        depth: How many brackets of any kind are open around it.
    """

    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    @property
    def keyword(self) -> bytes:
        """The word in upper case; empty for anything that cannot be a keyword."""
        return self.text.upper() if self.kind == "word" else b""

    @property
    def name(self) -> bytes:
        """The identifier without its quotes; empty for anything that cannot be one."""
        if self.kind == "quoted":
            return self.text[1:-1]
        return self.text if self.kind == "word" else b""


def scan(sql: bytes) -> Iterator[Token]:
    """The tokens of `sql` in order, without white space and comments."""
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup if match.lastgroup != "tag" else "string"
        if kind is None or kind == "space":
            continue
        text = match[0]
        if kind == "symbol" and text in b")]}":
            depth = max(0, depth - 1)
        yield Token(kind, text, match.start(), match.end(), depth)
        if kind == "symbol" and text in b"([{":
            depth += 1

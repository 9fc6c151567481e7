"""A scanner for ClickHouse SQL that tells clauses from strings, comments and the data of an INSERT.

It works on bytes, because an INSERT may be followed by binary data. It is lazy, so that the caller stops
where the SQL ends.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.embedded.clickhouse.query_error import QueryError

# Outside of quotes, the engine takes what is not ASCII for a Unicode space, or refuses it.
_TOKEN = re.compile(
    rb"""
    (?P<comment> /\* )
  | (?P<heredoc> \$\w*\$ )
  | (?P<string>  '(?:[^'\\]|\\.|'')*+ (?:\\?\Z|') | \xe2\x80\x98.*?(?:\xe2\x80\x99|\Z) )
  | (?P<quoted>  `(?:[^`\\]|\\.|``)*+ (?:\\?\Z|`) | "(?:[^"\\]|\\.|"")*+ (?:\\?\Z|")
               | \xe2\x80\x9c.*?(?:\xe2\x80\x9d|\Z) )
  | (?P<space>   (?:\s|[\x80-\xff])+? | --[^\n]* | //[^\n]* | \#[!\ ][^\n]* )
  | (?P<word>    [A-Za-z_]\w* )
  | (?P<number>  \d[\w.]* )
  | (?P<symbol>  . )
    """,
    re.DOTALL | re.VERBOSE,
)
_MAX_UNCLOSED = 100
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_OPENING_QUOTE = "\N{LEFT DOUBLE QUOTATION MARK}".encode()


@dataclass(frozen=True, slots=True)
class SqlToken:
    """One lexical element: a "word", "quoted" name, "string", "number" or "symbol".

    `end` is the offset after its last byte; `depth` counts the open brackets of any kind around it.
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
            width = 3 if self.text.startswith(_OPENING_QUOTE) else 1
            return self.text[width:-width]
        return self.text if self.kind == "word" else b""


def scan(sql: bytes) -> Iterator[SqlToken]:
    """The tokens of `sql` in order, without white space and comments.

    Raises:
        QueryError: It opens so many heredocs without an end that looking for it would take long.
    """
    depth = position = unclosed = 0
    while match := _TOKEN.match(sql, position):
        kind, start, position = match.lastgroup, match.start(), match.end()
        if kind == "comment":
            position = _end_of_comment(sql, position)
        elif kind == "heredoc":
            kind, position = _end_of_heredoc(sql, match)
            unclosed += kind == "symbol"
            if unclosed > _MAX_UNCLOSED:
                raise QueryError.of("SYNTAX_ERROR", "Too many heredocs without an end")
        if kind is None or kind in ("space", "comment"):
            continue
        text = sql[start:position]
        if kind == "symbol" and text in b")]}":
            depth = max(0, depth - 1)
        yield SqlToken(kind, text, start, position, depth)
        if kind == "symbol" and text in b"([{":
            depth += 1


def _end_of_heredoc(sql: bytes, opening: re.Match[bytes]) -> tuple[str, int]:
    """The kind and end of a heredoc. A mark that comes only once is none, and begins with a plain symbol."""
    end = sql.find(opening[0], opening.end())
    return ("symbol", opening.start() + 1) if end < 0 else ("string", end + len(opening[0]))


def _end_of_comment(sql: bytes, position: int) -> int:
    """Where a comment ends that has begun before `position`. Comments nest."""
    level = 1
    for edge in _COMMENT_EDGE.finditer(sql, position):
        level += 1 if edge[0] == b"/*" else -1
        if not level:
            return edge.end()
    return len(sql)

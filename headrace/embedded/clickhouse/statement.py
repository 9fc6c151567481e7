"""Takes one SQL statement apart: where an INSERT's data begins, where the output goes, what it must not name.

Pure functions on bytes, because an INSERT may be followed by binary data. A scanner of ClickHouse's tokens
tells clauses from strings, comments and data. A library has no wire between client and engine, so data and
output are files to it, which `INSERT … FROM INFILE` and `SELECT … INTO OUTFILE` name; clients may not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.embedded.clickhouse.confinement import RefusedNames
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
    """One lexical element: a "word", "quoted" name, "string", "number" or "symbol"; `depth` of brackets."""

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
    """The tokens of `sql` in order, without white space and comments; lazy, for callers that stop early.

    Raises `QueryError`: it opens so many heredocs without an end that looking for it would take long.
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


# The rest of the line after FORMAT X belongs to the SQL; the data begins on the next one.
_BEFORE_DATA = re.compile(rb"[ \t\f]*;?[ \t\f]*(?:\r?\n)?")
_FILE_CLAUSES = ((b"INTO", b"OUTFILE"), (b"FROM", b"INFILE"))


@dataclass(frozen=True, kw_only=True, slots=True)
class InsertStatement:
    """An INSERT whose data follows its SQL. `sql` ends before its FORMAT or VALUES clause."""

    sql: bytes
    input_format: str
    data_offset: int

    def reading(self, path: str) -> bytes:
        """The statement with its data read from a file instead of what follows it."""
        source = f" FROM INFILE '{path}' ".encode()
        tail = f" FORMAT {self.input_format}".encode()
        for token in scan(self.sql):
            if token.depth == 0 and token.keyword == b"SETTINGS":
                return self.sql[: token.start] + source + self.sql[token.start :] + tail
        return self.sql + source + tail


def find_insert(text: bytes) -> InsertStatement | None:
    """The INSERT with data at the start of `text`; None for any other statement, also for INSERT … SELECT."""
    inserting = False
    previous: SqlToken | None = None
    for token in scan(text):
        if token.depth == 0:
            if not inserting:
                if previous is None and token.keyword not in (b"INSERT", b"WITH"):
                    return None
                inserting = token.keyword == b"INSERT"
            elif token.keyword in (b"SELECT", b"WITH", b"FROM"):
                return None
            elif token.keyword == b"VALUES":
                return InsertStatement(sql=text[: token.start], input_format="Values", data_offset=token.end)
            elif token.keyword and previous is not None and previous.keyword == b"FORMAT":
                gap = _BEFORE_DATA.match(text, token.end)
                return InsertStatement(
                    sql=text[: previous.start],
                    input_format=token.text.decode(),
                    data_offset=gap.end() if gap else token.end,
                )
        previous = token
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputClause:
    """A statement that returns rows, split where its output clause stands; `tail` is the SETTINGS behind."""

    head: bytes
    format: str | None
    tail: bytes

    def into(self, path: str, default_format: str) -> bytes:
        """The statement with its output written to `path`."""
        into = f"\nINTO OUTFILE '{path}' APPEND FORMAT {self.format or default_format} ".encode()
        return self.head + into + self.tail


def split_output(sql: bytes) -> OutputClause:
    """Find the FORMAT clause of a statement that has no data after it."""
    tokens = list(scan(sql))
    while tokens and tokens[-1].text == b";":
        tokens.pop()
    if not tokens:
        return OutputClause(head=sql, format=None, tail=b"")
    end = tokens[-1].end
    for index in range(len(tokens) - 2, 0, -1):
        clause, name = tokens[index], tokens[index + 1]
        if clause.depth or clause.keyword != b"FORMAT" or not name.keyword:
            continue
        if index + 2 == len(tokens) or tokens[index + 2].keyword == b"SETTINGS":
            return OutputClause(head=sql[: clause.start], format=name.text.decode(), tail=sql[name.end : end])
    return OutputClause(head=sql[:end], format=None, tail=b"")


def first_keyword(sql: bytes) -> bytes:
    """The first word of a statement in upper case."""
    return next((token.keyword for token in scan(sql) if token.text != b"("), b"")


def check_confined(sql: bytes, refused: RefusedNames) -> None:
    """Refuse files, and functions and engines that reach beyond the tables."""
    before: SqlToken | None = None
    previous: SqlToken | None = None
    for token in scan(sql):
        if previous is not None:
            if (previous.keyword, token.keyword) in _FILE_CLAUSES:
                raise _outfile_refused(previous, token)
            if token.text == b"(" and _is_among(previous, refused.functions):
                raise _access_denied(previous.name + b"()")
            engine = before if previous.text == b"=" else previous
            if engine is not None and engine.keyword == b"ENGINE" and _is_among(token, refused.engines):
                raise _access_denied(b"ENGINE = " + token.name)
        before, previous = previous, token


def _is_among(token: SqlToken, names: frozenset[bytes]) -> bool:
    """Whether it is one of the names. A name that is spelled with escapes may be."""
    return token.name.lower() in names or (token.kind == "quoted" and b"\\" in token.name)


def _outfile_refused(previous: SqlToken, token: SqlToken) -> QueryError:
    return QueryError.of(
        "INTO_OUTFILE_NOT_ALLOWED",
        f"{previous.keyword.decode()} {token.keyword.decode()} is not allowed over HTTP: "
        "send the data in the request's body, read it from the response's",
    )


def _access_denied(what: bytes) -> QueryError:
    return QueryError.of(
        "ACCESS_DENIED",
        f"Not enough privileges: {what.decode(errors='replace')} is not for statements that come over HTTP: "
        "they reach tables, and no files, programs or other servers",
    )

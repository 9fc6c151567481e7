"""What one statement is, and how it is rewritten for the engine: pure functions on bytes.

Three things need a look into the SQL, because a library has no wire between client and engine:
where an INSERT's data begins, where the output goes, and whom KILL QUERY means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.embedded.clickhouse.confinement import Refused
from headrace.embedded.clickhouse.faults import QueryFailed
from headrace.embedded.clickhouse.tokens import Token, scan

# The rest of the line after FORMAT X belongs to the SQL; the data begins on the next one.
_BEFORE_DATA = re.compile(rb"[ \t\f]*;?[ \t\f]*(?:\r?\n)?")
_CODE_INTO_OUTFILE_NOT_ALLOWED = 358
_CODE_INVALID_USAGE_OF_INPUT = 477
_CODE_ACCESS_DENIED = 497


@dataclass(frozen=True, kw_only=True, slots=True)
class Insert:
    """An INSERT whose data follows its SQL.

    Attributes:
        sql: The statement up to its FORMAT or VALUES clause.
        input_format: The format of the data.
        data_offset: Where the data begins.
        selects: It is an INSERT … SELECT … FROM input(…): only the engine itself can feed that.
    """

    sql: bytes
    input_format: str
    data_offset: int
    selects: bool


def find_insert(text: bytes) -> Insert | None:
    """The INSERT at the start of `text`; None if it is another statement or an INSERT without data."""
    inserting = selects = False
    previous: Token | None = None
    for token in scan(text):
        if token.depth == 0:
            if not inserting:
                if previous is None and token.keyword not in (b"INSERT", b"WITH"):
                    return None
                inserting = token.keyword == b"INSERT"
            elif token.keyword == b"VALUES" and not selects:
                return Insert(
                    sql=text[: token.start], input_format="Values", data_offset=token.end, selects=False
                )
            elif token.keyword and previous is not None and previous.keyword == b"FORMAT":
                return _formatted(text, previous, token, selects=selects)
            selects = selects or (inserting and token.keyword in (b"SELECT", b"WITH", b"FROM"))
        previous = token
    return None


def _formatted(text: bytes, clause: Token, name: Token, *, selects: bool) -> Insert:
    gap = _BEFORE_DATA.match(text, name.end)
    return Insert(
        sql=text[: clause.start],
        input_format=name.text.decode(),
        data_offset=gap.end() if gap else name.end,
        selects=selects,
    )


def read_data_from(insert: Insert, path: str) -> bytes:
    """An INSERT that reads its data from a file instead of what follows it."""
    clause = f" FROM INFILE '{path}' ".encode()
    tail = f" FORMAT {insert.input_format}".encode()
    for token in scan(insert.sql):
        if token.depth == 0 and token.keyword == b"SETTINGS":
            return insert.sql[: token.start] + clause + insert.sql[token.start :] + tail
    return insert.sql + clause + tail


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSource:
    """The input('structure') of an INSERT … SELECT.

    Attributes:
        structure: What stands between the brackets.
        sql: The statement with the name of a table in its place.
    """

    structure: bytes
    sql: bytes


def read_input_from(insert: Insert, table: str) -> InputSource:
    """Make an INSERT … SELECT … FROM input('structure') read from a table instead.

    Raises:
        QueryFailed: There is no input().
    """
    previous = begin = None
    for token in scan(insert.sql):
        if begin is not None and token.text == b")" and token.depth == begin[1].depth:
            name, bracket = begin
            sql = insert.sql[: name.start] + table.encode() + insert.sql[token.end :]
            return InputSource(structure=insert.sql[bracket.end : token.start], sql=sql)
        if begin is None and previous is not None and previous.name.lower() == b"input":
            begin = (previous, token) if token.text == b"(" else None
        previous = token
    raise QueryFailed.of(
        _CODE_INVALID_USAGE_OF_INPUT,
        "INVALID_USAGE_OF_INPUT",
        "There is a FORMAT clause after INSERT … SELECT, and no input('structure') to read the data",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A statement that returns rows, split where its output clause stands.

    Attributes:
        head: The SQL before the output clause.
        format: The format it asks for itself, if it does.
        tail: What follows: a SETTINGS clause, or nothing.
    """

    head: bytes
    format: str | None
    tail: bytes

    def into(self, path: str, default_format: str) -> bytes:
        """The statement with its output written to `path`."""
        name = self.format or default_format
        return b"%s\nINTO OUTFILE '%s' APPEND FORMAT %s %s" % (
            self.head, path.encode(), name.encode(), self.tail,
        )  # fmt: skip


def split_output(sql: bytes) -> Output:
    """Find the FORMAT clause of a statement that has no data after it."""
    tokens = list(scan(sql))
    while tokens and tokens[-1].text == b";":
        tokens.pop()
    if not tokens:
        return Output(head=sql, format=None, tail=b"")
    end = tokens[-1].end
    for index in range(len(tokens) - 2, 0, -1):
        clause, name = tokens[index], tokens[index + 1]
        if clause.depth or clause.keyword != b"FORMAT" or not name.keyword:
            continue
        if index + 2 == len(tokens) or tokens[index + 2].keyword == b"SETTINGS":
            return Output(head=sql[: clause.start], format=name.text.decode(), tail=sql[name.end : end])
    return Output(head=sql[:end], format=None, tail=b"")


def refuse_files(sql: bytes) -> None:
    """Refuse INTO OUTFILE and FROM INFILE, which a server leaves to its command line client.

    Raises:
        QueryFailed: The statement has one of them.
    """
    previous = b""
    for token in scan(sql):
        if (previous, token.keyword) in ((b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")):
            raise QueryFailed.of(
                _CODE_INTO_OUTFILE_NOT_ALLOWED,
                "INTO_OUTFILE_NOT_ALLOWED",
                f"{previous.decode()} {token.keyword.decode()} is not allowed over HTTP: "
                "send the data in the request's body, read it from the response's",
            )
        previous = token.keyword


def refuse_reaching_out(sql: bytes, refused: Refused) -> None:
    """Refuse functions and engines that no user may use.

    Raises:
        QueryFailed: The statement names one of them.
    """
    before: Token | None = None
    previous: Token | None = None
    for token in scan(sql):
        if previous is not None and token.text == b"(" and _is_among(previous, refused.functions):
            raise _not_over_http(previous.name + b"()")
        engine = previous if previous is not None and previous.text != b"=" else before
        if engine is not None and engine.keyword == b"ENGINE" and _is_among(token, refused.engines):
            raise _not_over_http(b"ENGINE = " + token.name)
        before, previous = previous, token


def _is_among(token: Token, names: frozenset[bytes]) -> bool:
    """Whether it is one of the names; it may be, where it is spelled with escapes."""
    return token.name.lower() in names or (token.kind == "quoted" and b"\\" in token.name)


def _not_over_http(what: bytes) -> QueryFailed:
    return QueryFailed.of(
        _CODE_ACCESS_DENIED,
        "ACCESS_DENIED",
        f"Not enough privileges: {what.decode(errors='replace')} is not for statements that come over HTTP: "
        "it could reach beyond the tables, to files, programs or other servers",
    )


def first_keyword(sql: bytes) -> bytes:
    """The first word of a statement in upper case."""
    for token in scan(sql):
        if token.text != b"(":
            return token.keyword
    return b""


def address_kill(sql: bytes) -> bytes:
    """Make KILL QUERY find the ids that clients know.

    The engine gives each query an id of its own; ours travels in the setting log_comment.
    """
    if first_keyword(sql) != b"KILL":
        return sql
    parts: list[bytes] = []
    copied = 0
    for token in scan(sql):
        if token.name.lower() == b"query_id":
            parts += [sql[copied : token.start], b"Settings['log_comment']"]
            copied = token.end
    return b"".join([*parts, sql[copied:]])

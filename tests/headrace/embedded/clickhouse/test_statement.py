"""Where an insert's data begins, where a result's format stands, and where tokens end.

The scanner takes SQL apart as the engine does: whatever it took for a string would be looked over.
"""

from __future__ import annotations

import time

import pytest

from headrace.embedded.clickhouse.query_error import QueryError
from headrace.embedded.clickhouse.statement import find_insert, scan, split_output


@pytest.mark.parametrize(
    ("text", "input_format", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02'", "Native", b"\x01\x02'"),
        (b"insert into t (a, b) format CSV\r\n1,2", "CSV", b"1,2"),
        (b"INSERT INTO t FORMAT JSONEachRow {}", "JSONEachRow", b"{}"),
        (b"INSERT INTO t FORMAT TSV\n\n", "TSV", b"\n"),
        (b"INSERT INTO t SETTINGS async_insert = 0 FORMAT CSV\n1", "CSV", b"1"),
        (b"/* FORMAT x */ INSERT INTO `FORMAT CSV` (`values`) VALUES (1)", "Values", b" (1)"),
        (b"INSERT INTO FUNCTION file('VALUES', 'FORMAT CSV') FORMAT TSV\n1", "TSV", b"1"),
    ],
)
def test_the_data_of_an_insert(text: bytes, input_format: str, data: bytes) -> None:
    """Clauses count, their look-alikes in strings, names and comments do not."""
    insert = find_insert(text)
    assert insert is not None
    assert insert.input_format == input_format
    assert text[insert.data_offset :] == data


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 FORMAT CSV",
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t SELECT a FROM VALUES('a Int8', 1)",
        b"INSERT INTO t WITH 1 AS a SELECT a FORMAT CSV",
        b"WITH 1 AS x SELECT x FORMAT CSV",
        b"CREATE TABLE t AS SELECT * FROM VALUES('a Int8', 1)",
        b"",
    ],
)
def test_other_statements_have_no_data(text: bytes) -> None:
    """Only an INSERT that is not fed by a query waits for data."""
    assert find_insert(text) is None


@pytest.mark.parametrize(
    ("sql", "name", "rewritten"),
    [
        (b"SELECT 1", None, b"SELECT 1\nINTO OUTFILE '/p' APPEND FORMAT TSV "),
        (b"SELECT 1 ; -- FORMAT X", None, b"SELECT 1\nINTO OUTFILE '/p' APPEND FORMAT TSV "),
        (b"SELECT 1 FORMAT JSON", "JSON", b"SELECT 1 \nINTO OUTFILE '/p' APPEND FORMAT JSON "),
        (
            b"SELECT 'FORMAT x' AS format FORMAT CSV SETTINGS a = 1;",
            "CSV",
            b"SELECT 'FORMAT x' AS format \nINTO OUTFILE '/p' APPEND FORMAT CSV  SETTINGS a = 1",
        ),
        (b"SELECT format FROM t", None, b"SELECT format FROM t\nINTO OUTFILE '/p' APPEND FORMAT TSV "),
    ],
)
def test_the_output_clause(sql: bytes, name: str | None, rewritten: bytes) -> None:
    """The output goes to the given path in the statement's own format or in the default one."""
    output = split_output(sql)
    assert output.format == name
    assert output.into("/p", "TSV") == rewritten


@pytest.mark.parametrize(
    ("text", "code", "name", "status"),
    [
        ("Code: 60. DB::Exception: Unknown (x) table. (UNKNOWN_TABLE)", 60, "UNKNOWN_TABLE", 404),
        ("Code: 73. DB::Exception: No. (UNKNOWN_FORMAT) (version 26.9.2.1).", 73, "UNKNOWN_FORMAT", 404),
        ("something else", 1002, "UNKNOWN_EXCEPTION", 500),
    ],
)
def test_reading_the_engines_errors(text: str, code: int, name: str, status: int) -> None:
    """Code, name and status come out of the engine's text."""
    error = QueryError.parse(text)
    assert (error.code, error.name, error.status) == (code, name, status)


@pytest.mark.parametrize(
    ("sql", "texts"),
    [
        ("a /* b /* c */ ' */ d", ["a", "d"]),
        ("a /* b", ["a"]),
        ("a // '\nb # '\nc #! '\nd -- '\ne", ["a", "b", "c", "d", "e"]),
        ("a/b", ["a", "/", "b"]),
        ("a\N{NO-BREAK SPACE}\N{ZERO WIDTH NO-BREAK SPACE}b", ["a", "b"]),
        (r"'a''b\'c' 'd'", [r"'a''b\'c'", "'d'"]),
        ("\u2018a'\u2019 b", ["\u2018a'\u2019", "b"]),
        ("'a\\", ["'a\\"]),
        ("a $b c$ 'd'", ["a", "$", "b", "c", "$", "'d'"]),
        ("$a$ 'b'", ["$", "a", "$", "'b'"]),
        ("$a$ ' $b$ $a$ $$'$$ c", ["$a$ ' $b$ $a$", "$$'$$", "c"]),
        ('"a""b" `c``d` \u201ce\u201d', ['"a""b"', "`c``d`", "\u201ce\u201d"]),
    ],
)  # fmt: skip
def test_where_tokens_end(sql: str, texts: list[str]) -> None:
    """Comments nest and have four forms; quotes are ASCII's or typographic; Unicode's spaces are spaces."""
    assert [token.text.decode() for token in scan(sql.encode())] == texts


def test_names_lose_their_quotes() -> None:
    """Of whichever form they are."""
    sql = "a `b` \"c\" \u201cd\u201d 'e'"
    assert [token.name for token in scan(sql.encode())] == [b"a", b"b", b"c", b"d", b""]


@pytest.mark.parametrize("start", ["'", "'\\'", '"\\"', "\u201c", "\u2018", "/*", "$a$"])
def test_what_is_never_closed_takes_no_longer_than_what_is(start: str) -> None:
    """Text that is searched for its end again and again would keep everybody waiting for minutes."""
    before = time.process_time()
    for _ in scan(start.encode() * (100_000 // len(start))):
        pass
    assert time.process_time() - before < 10


def test_too_many_heredocs_without_an_end_are_refused() -> None:
    """Each would be looked for to the end of the statement."""
    with pytest.raises(QueryError, match="heredocs"):
        list(scan(" ".join(f"${number}$" for number in range(1_000)).encode()))

"""The scanner takes SQL apart as the engine does: whatever it took for a string would be looked over."""

from __future__ import annotations

import time

import pytest

from headrace.embedded.clickhouse.query_error import QueryError
from headrace.embedded.clickhouse.sql_tokens import scan


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

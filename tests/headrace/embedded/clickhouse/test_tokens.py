"""The scanner takes SQL apart as the engine does: whatever it took for a string would be looked over."""

from __future__ import annotations

import pytest

from headrace.embedded.clickhouse.tokens import scan


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

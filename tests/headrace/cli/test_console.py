"""Options that several commands share."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from headrace.cli.console import parse_time_option

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("999999d", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T10:00", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00:00+02:00", datetime(2026, 11, 20, 8, tzinfo=UTC)),
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
    ],
)
def test_times_are_so_long_ago_or_iso(text: str, expected: datetime) -> None:
    """Without an offset they are UTC; nothing lies before 1970."""
    assert parse_time_option(text, now=NOW) == expected


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2", "h", "-2h", "2y", "1960-01-01", "0001-01-01", "2026-13-01"],
)
def test_what_is_no_time_is_told_what_one_looks_like(text: str) -> None:
    """The message shows both forms."""
    with pytest.raises(typer.BadParameter, match="2h"):
        parse_time_option(text, now=NOW)

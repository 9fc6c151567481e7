"""Times as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from streams.times import EPOCH, parse_moment, utc

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("90s", NOW - timedelta(seconds=90)),
        ("30 m", NOW - timedelta(minutes=30)),
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(weeks=2)),
        ("999999999w", EPOCH),
        (" 2026-11-20T10:00+02:00 ", datetime(2026, 11, 20, 8, tzinfo=UTC)),
        ("2026-11-20T10:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
    ],
)
def test_ages_and_times(text: str, expected: datetime) -> None:
    """Ages are counted from now and end at 1970; a time without a zone is UTC."""
    found = parse_moment(text, now=NOW)
    assert (found, found.tzinfo) == (expected, UTC)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2", "h", "-2h", "2y", "٣h", "2026-13-01", "0001-01-01T00:00+23:00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """With a `ValueError`, whatever is wrong with it."""
    with pytest.raises(ValueError):  # noqa: PT011  # the message is the caller's
        parse_moment(text, now=NOW)


def test_now_may_be_in_any_zone() -> None:
    """What comes out is UTC."""
    here = NOW.astimezone(timezone(timedelta(hours=5)))
    assert parse_moment("1h", now=here) == NOW - timedelta(hours=1)
    assert utc(here).tzinfo is UTC

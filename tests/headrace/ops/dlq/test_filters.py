"""Which dead letters are meant."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from headrace.ops.dlq.filters import Filters, moment
from headrace.ops.dlq.letters import letter_of
from headrace.ops.dlq.standing import Standing, State
from streams.errors import InputError
from tests.headrace.ops.dlq.made import DIED_MS, buried, dead, record

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
LETTER = letter_of(dead(buried(record(b'{"request_id": "r-1", "tenant": "acme"}'))))
DIED_AT = datetime.fromtimestamp(DIED_MS / 1000, UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ({"state": State.OPEN}, {"state": State.REPLAYED}),
        ({"stage": "guardrail"}, {"stage": "guard"}),
        ({"exception": "UndecodableRecord"}, {"exception": "ValueError"}),
        ({"topic": "llm.requests.v1"}, {"topic": "llm.misses.v1"}),
        ({"request_id": "r-1"}, {"request_id": "r"}),
        ({"tenant": "acme"}, {"tenant": "default"}),
        ({"since": DIED_AT}, {"since": DIED_AT + SECOND}),
        ({"until": DIED_AT + SECOND}, {"until": DIED_AT}),
    ],
)
def test_each_filter_takes_what_it_names_and_nothing_else(
    given: dict[str, object],
    other: dict[str, object],
) -> None:
    """Names are whole; the begin is inside, the end outside."""
    assert msgspec.convert(given, Filters, strict=False).match(LETTER, Standing())
    assert not msgspec.convert(other, Filters, strict=False).match(LETTER, Standing())


def test_all_filters_must_hold() -> None:
    """One that does not is enough to leave a letter out."""
    assert Filters(stage="guardrail", tenant="acme").match(LETTER, Standing())
    assert not Filters(stage="guardrail", tenant="other").match(LETTER, Standing())
    assert Filters().match(LETTER, Standing(State.DISCARDED))


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
    assert moment(text, now=NOW) == expected


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2", "h", "-2h", "2y", "1960-01-01", "0001-01-01", "2026-13-01"],
)
def test_what_is_no_time_is_told_what_one_looks_like(text: str) -> None:
    """The message shows both forms."""
    with pytest.raises(InputError, match="2h"):
        moment(text, now=NOW)


def test_the_begin_is_handed_to_the_broker_in_ms() -> None:
    """Reading begins there."""
    assert Filters(since=DIED_AT).since_ms == DIED_MS
    assert Filters().since_ms is None

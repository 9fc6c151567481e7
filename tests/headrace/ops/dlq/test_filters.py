"""Which dead letters are meant."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from headrace.ops.dlq.filters import LetterFilters
from headrace.ops.dlq.letters import summary_of
from headrace.ops.dlq.states import LetterState, LetterStatus
from tests.headrace.ops.dlq.dead_letter_records import DIED_MS, buried, dead, record

LETTER = summary_of(dead(buried(record(b'{"request_id": "r-1", "tenant": "acme"}'))))
DIED_AT = datetime.fromtimestamp(DIED_MS / 1000, UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ({"status": LetterStatus.OPEN}, {"status": LetterStatus.REPLAYED}),
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
    assert msgspec.convert(given, LetterFilters, strict=False).match(LETTER, LetterState())
    assert not msgspec.convert(other, LetterFilters, strict=False).match(LETTER, LetterState())


def test_all_filters_must_hold() -> None:
    """One that does not is enough to leave a letter out."""
    assert LetterFilters(stage="guardrail", tenant="acme").match(LETTER, LetterState())
    assert not LetterFilters(stage="guardrail", tenant="other").match(LETTER, LetterState())
    assert LetterFilters().match(LETTER, LetterState(LetterStatus.DISCARDED))


def test_the_begin_is_handed_to_the_broker_in_ms() -> None:
    """Reading begins there."""
    assert LetterFilters(since=DIED_AT).since_ms == DIED_MS
    assert LetterFilters().since_ms is None

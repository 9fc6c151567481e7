"""Which dead letters are meant: the newest that match, and how many there are."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from headrace.ops.dlq.letters import LetterId, LetterState, LetterStatus, LetterSummary, summary_of
from headrace.ops.dlq.reader import MAX_GROUPS, OTHERS, LetterFilters, LetterSelection
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


def test_the_newest_are_kept_and_come_the_oldest_first_over_all_partitions() -> None:
    """Whatever the order in which partitions are read."""
    letters = [
        LetterSummary(letter_id=LetterId(number % 3, number), written_ms=1_000 + number, stage="llm")
        for number in range(50)
    ]
    random.Random(7).shuffle(letters)
    selection = LetterSelection(LetterFilters(), limit=5)
    for letter in letters:
        selection.offer(letter, LetterState())
    assert [each.letter.written_ms for each in selection.letters()] == [1_045, 1_046, 1_047, 1_048, 1_049]
    assert selection.matched == 50


def test_letters_of_one_instant_are_told_apart_by_their_place() -> None:
    """Equal times are no tie that fails."""
    selection = LetterSelection(LetterFilters(), limit=2)
    for offset in (3, 1, 2):
        selection.offer(LetterSummary(letter_id=LetterId(0, offset), written_ms=5), LetterState())
    assert [each.letter.letter_id.offset for each in selection.letters()] == [2, 3]


def test_kinds_are_counted_beyond_the_limit_and_only_where_they_match() -> None:
    """By stage and exception, the most frequent first, with the first and the last time."""
    selection = LetterSelection(LetterFilters(status=LetterStatus.OPEN), limit=1)
    for offset, (stage, exception) in enumerate([("llm", "A"), ("llm", "B"), ("llm", "B"), ("cost", "A")]):
        letter = LetterSummary(
            letter_id=LetterId(0, offset), written_ms=offset, stage=stage, exception=exception
        )
        selection.offer(letter, LetterState())
    selection.offer(
        LetterSummary(letter_id=LetterId(0, 9), written_ms=9, stage="llm"),
        LetterState(LetterStatus.DISCARDED),
    )
    assert [(kind.stage, kind.exception, kind.letters) for kind in selection.groups()] == [
        ("llm", "B", 2),
        ("cost", "A", 1),
        ("llm", "A", 1),
    ]
    assert (selection.groups()[0].oldest_ms, selection.groups()[0].newest_ms) == (1, 2)
    assert len(selection.letters()) == 1


def test_invented_names_cannot_fill_the_memory() -> None:
    """Beyond a thousand kinds the rest is counted as one."""
    selection = LetterSelection(LetterFilters(), limit=1)
    for offset in range(MAX_GROUPS + 500):
        selection.offer(
            LetterSummary(letter_id=LetterId(0, offset), written_ms=0, exception=f"E{offset}"), LetterState()
        )
    assert len(selection.groups()) == MAX_GROUPS + 1
    assert (selection.groups()[0].stage, selection.groups()[0].letters) == (OTHERS, 500)


def test_replays_before_and_after_the_death_are_added_up() -> None:
    """The headers tell of those before, the actions of those since."""
    selection = LetterSelection(LetterFilters(), limit=1)
    selection.offer(
        LetterSummary(letter_id=LetterId(0, 0), written_ms=0, replay=2), LetterState(LetterStatus.REPLAYED, 1)
    )
    assert selection.letters()[0].replays == 3

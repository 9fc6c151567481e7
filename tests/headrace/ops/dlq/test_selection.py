"""The newest letters that match, and how many there are."""

import random

from headrace.ops.dlq.filters import LetterFilters
from headrace.ops.dlq.letters import LetterId, LetterSummary
from headrace.ops.dlq.selection import MAX_GROUPS, OTHERS, LetterSelection
from headrace.ops.dlq.states import LetterState, LetterStatus


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

"""The newest letters that match, and how many there are."""

import random

from headrace.ops.dlq.filters import Filters
from headrace.ops.dlq.letters import Letter, Place
from headrace.ops.dlq.selection import MAX_KINDS, OTHERS, Selection
from headrace.ops.dlq.standing import Standing, State


def test_the_newest_are_kept_and_come_the_oldest_first_over_all_partitions() -> None:
    """Whatever the order in which partitions are read."""
    letters = [
        Letter(place=Place(number % 3, number), written_ms=1_000 + number, stage="llm")
        for number in range(50)
    ]
    random.Random(7).shuffle(letters)
    selection = Selection(Filters(), limit=5)
    for letter in letters:
        selection.offer(letter, Standing())
    assert [each.letter.written_ms for each in selection.found()] == [1_045, 1_046, 1_047, 1_048, 1_049]
    assert selection.matched == 50


def test_letters_of_one_instant_are_told_apart_by_their_place() -> None:
    """Equal times are no tie that fails."""
    selection = Selection(Filters(), limit=2)
    for offset in (3, 1, 2):
        selection.offer(Letter(place=Place(0, offset), written_ms=5), Standing())
    assert [each.letter.place.offset for each in selection.found()] == [2, 3]


def test_kinds_are_counted_beyond_the_limit_and_only_where_they_match() -> None:
    """By stage and exception, the most frequent first, with the first and the last time."""
    selection = Selection(Filters(state=State.OPEN), limit=1)
    for offset, (stage, exception) in enumerate([("llm", "A"), ("llm", "B"), ("llm", "B"), ("cost", "A")]):
        letter = Letter(place=Place(0, offset), written_ms=offset, stage=stage, exception=exception)
        selection.offer(letter, Standing())
    selection.offer(Letter(place=Place(0, 9), written_ms=9, stage="llm"), Standing(State.DISCARDED))
    assert [(kind.stage, kind.exception, kind.letters) for kind in selection.kinds()] == [
        ("llm", "B", 2),
        ("cost", "A", 1),
        ("llm", "A", 1),
    ]
    assert (selection.kinds()[0].oldest_ms, selection.kinds()[0].newest_ms) == (1, 2)
    assert len(selection.found()) == 1


def test_invented_names_cannot_fill_the_memory() -> None:
    """Beyond a thousand kinds the rest is counted as one."""
    selection = Selection(Filters(), limit=1)
    for offset in range(MAX_KINDS + 500):
        selection.offer(Letter(place=Place(0, offset), written_ms=0, exception=f"E{offset}"), Standing())
    assert len(selection.kinds()) == MAX_KINDS + 1
    assert (selection.kinds()[0].stage, selection.kinds()[0].letters) == (OTHERS, 500)


def test_replays_before_and_after_the_death_are_added_up() -> None:
    """The headers tell of those before, the actions of those since."""
    selection = Selection(Filters(), limit=1)
    selection.offer(Letter(place=Place(0, 0), written_ms=0, replay=2), Standing(State.REPLAYED, 1))
    assert selection.found()[0].replays == 3

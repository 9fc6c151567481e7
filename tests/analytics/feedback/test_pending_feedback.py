"""The waiting room: who is next, what is committed, and when it is full."""

import pytest

from analytics.feedback.pending_feedback import PendingFeedback, PendingLimits, PendingRecord
from tests.analytics.feedback.given import feedback, judged, record

NOW = 1_800_000_000.0
PLACE = ("llm.feedback.v1", 0)


def room(**limits: float) -> PendingFeedback:
    return PendingFeedback(PendingLimits(**{"wait_s": 100, **limits}))  # type: ignore[arg-type]


def enter(into: PendingFeedback, *offsets: int, at: float = NOW, written_s: float = NOW) -> None:
    for offset in offsets:
        said = record(feedback(f"r-{offset}"), offset=offset, timestamp_ms=int(written_s * 1000))
        into.add(said, judged(feedback(f"r-{offset}")), at)


def offsets(entries: list[PendingRecord]) -> list[int]:
    return [entry.record.offset for entry in entries]


def test_what_comes_in_is_due_at_once_and_then_ever_more_rarely() -> None:
    """A quarter of a second, a half, one, up to thirty seconds."""
    waiting = room()
    enter(waiting, 0)
    at, pauses = NOW, []
    for _ in range(10):
        [entry] = waiting.due(at, most=10)
        waiting.postpone([entry], at)
        assert waiting.due(at + 0.2, most=10) == []
        pauses.append(entry.due_at - at)
        at = entry.due_at
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_the_committed_offset_is_that_of_the_first_that_waits() -> None:
    """However many behind it are settled; when all are, it is the one after the last."""
    waiting = room()
    enter(waiting, 3, 4, 6)
    assert waiting.positions() == {PLACE: 3}
    three, four, six = waiting.due(NOW, most=10)
    waiting.settled([six, four])
    assert waiting.positions() == {PLACE: 3}
    waiting.settled([three])
    assert waiting.positions() == {PLACE: 7}
    assert (len(waiting), waiting.size_bytes) == (0, 0)


def test_it_gives_no_more_than_asked_for() -> None:
    """The rest is next, each once."""
    waiting = room()
    enter(waiting, *range(5))
    assert offsets(waiting.due(NOW, most=3)) == [0, 1, 2]
    assert offsets(waiting.due(NOW, most=3)) == [3, 4]
    assert waiting.due(NOW, most=3) == []


@pytest.mark.parametrize("limits", [{"records": 2}, {"bytes": 80}])
def test_it_is_full_by_number_and_by_size(limits: dict[str, int]) -> None:
    """Until something is settled."""
    waiting = room(**limits)
    full = []
    for offset in range(2):
        enter(waiting, offset)
        full.append(waiting.full)
    waiting.settled(waiting.due(NOW, most=1))
    assert [*full, waiting.full] == [False, True, False]


def test_the_wait_counts_from_the_records_timestamp() -> None:
    """So a restart does not begin it anew; but each has ten seconds, and no clock reaches forward."""
    waiting = room()
    for offset, written_s in enumerate((NOW - 30, NOW - 5_000, NOW + 5_000)):
        enter(waiting, offset, written_s=written_s)
    entries = waiting.due(NOW, most=10)

    def late(after_s: float) -> list[int]:
        return offsets(waiting.overdue(entries, NOW + after_s))

    assert late(9) == []
    assert late(10) == [1]
    assert late(70) == [0, 1]
    assert late(100) == [0, 1, 2]


def test_nobody_waits_long_where_it_is_crowded() -> None:
    """Else ids that nobody knows would hold up everybody else's."""
    waiting = room(records=2, crowded_wait_s=30)
    enter(waiting, 0)
    entries = waiting.due(NOW, most=10)
    assert waiting.overdue(entries, NOW + 31) == []
    enter(waiting, 1, at=NOW + 20)
    assert offsets(waiting.overdue(entries, NOW + 31)) == [0]


def test_what_belongs_to_somebody_else_is_forgotten() -> None:
    """What is still being worked on changes nothing when it is done."""
    waiting = room()
    enter(waiting, 0, 1)
    in_hand = waiting.due(NOW, most=1)
    waiting.forget()
    assert (len(waiting), waiting.size_bytes, waiting.positions()) == (0, 0, {})
    assert waiting.due(NOW, most=10) == []
    enter(waiting, 0)
    waiting.settled(in_hand)
    waiting.postpone(in_hand, NOW)
    assert (len(waiting), waiting.positions()) == (1, {PLACE: 0})


def test_it_knows_since_when_somebody_waits() -> None:
    """For the operators."""
    waiting = room()
    known = [waiting.oldest_at]
    enter(waiting, 0)
    enter(waiting, 1, at=NOW + 5)
    known.append(waiting.oldest_at)
    waiting.settled(waiting.due(NOW, most=1))
    assert [*known, waiting.oldest_at] == [None, NOW, NOW + 5]

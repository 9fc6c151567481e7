"""What a client is sent of an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.follow.answer_cursor import AnswerCursor, AnswerSoFar, Step, advance, pieces
from streams.events import Delta


def _delta(attempt: int, seq: int, text: str) -> Delta:
    return Delta(request_id="r", attempt=attempt, seq=seq, text=text)


def _after(*deltas: tuple[int, int, str], max_chars: int = 100) -> AnswerSoFar:
    progress = AnswerSoFar()
    for attempt, seq, text in deltas:
        progress = advance(progress, _delta(attempt, seq, text), max_chars=max_chars)
    return progress


@pytest.mark.parametrize(
    ("deltas", "text"),
    [
        ([], ""),
        ([(1, 0, "a"), (1, 1, "b")], "ab"),
        ([(1, 0, "a"), (1, 0, "a"), (1, 1, "b"), (1, 0, "a")], "ab"),  # duplicates
        ([(1, 0, "a"), (1, 2, "c"), (1, 3, "d")], "a"),  # nothing after a gap
        ([(1, 1, "b"), (1, 2, "c")], ""),  # the beginning was missed
        ([(1, 0, "a"), (2, 0, "x"), (1, 1, "b")], "x"),  # stale attempt
        ([(1, 0, "a"), (2, 1, "y")], ""),  # a new attempt whose beginning was missed
        ([(2, 0, "x"), (1, 0, "a"), (2, 1, "y")], "xy"),
    ],
)
def test_advance(deltas: list[tuple[int, int, str]], text: str) -> None:
    """The text is that of the highest attempt, without duplicates, gaps or stale pieces."""
    assert _after(*deltas).text == text


def test_the_transcript_is_bounded() -> None:
    """Text beyond the limit is left to the reply, and nothing is taken after it."""
    assert _after((1, 0, "abc"), (1, 1, "def"), (1, 2, "g"), max_chars=5).text == "abc"


@pytest.mark.parametrize(
    ("sent", "text", "content", "step"),
    [
        ("", "", None, Step.WAIT),
        ("", "Hel", None, "Hel"),
        ("Hel", "Hello", None, "lo"),
        ("Hello", "Hello", None, Step.WAIT),
        ("Hello", "", None, Step.WAIT),  # a new attempt, nothing of it yet
        ("Hello", "He", None, Step.WAIT),  # a new attempt that says the same so far
        ("Hello", "Hi", None, Step.RESET),  # a new attempt that says something else
        ("Hello", "Hello", "Hello", Step.FINISH),
        ("Hel", "Hel", "Hello", "lo"),  # the reply overtook the last deltas
        ("", "", "cached", "cached"),
        ("", "", "", Step.FINISH),
        ("Hello", "Hello", "No.", Step.RESET),
        ("Hello", "Hello", "Hell", Step.RESET),  # the reply is shorter than what was sent
        ("Hello", "Hello", "", Step.RESET),
    ],
)
def test_the_next_step(sent: str, text: str, content: str | None, step: str | Step) -> None:
    """The next step continues what was sent, or takes it back; never both answers in a row."""
    cursor = AnswerCursor()
    if sent:
        cursor.step(sent, None)
    assert cursor.step(text, content) == step


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.text(max_size=3)), max_size=20), st.text())
def test_a_client_ends_with_exactly_the_reply(deltas: list[tuple[int, int, str]], content: str) -> None:
    """Whatever deltas came, in whatever order: what a client keeps after the resets is the reply."""
    answer, kept, cursor = AnswerSoFar(), "", AnswerCursor()
    for attempt, seq, text in deltas:
        answer = advance(answer, _delta(attempt, seq, text), max_chars=100)
        step = cursor.step(answer.text, None)
        kept = kept + step if isinstance(step, str) else "" if step is Step.RESET else kept
    while (step := cursor.step(answer.text, content)) is not Step.FINISH:
        kept = kept + step if isinstance(step, str) else ""
    assert kept == content


@given(st.text(alphabet="ab \n", max_size=300), st.integers(1, 40))
def test_pieces_lose_nothing(text: str, size: int) -> None:
    """Pieces join to the text, and none is empty or much longer than asked."""
    cut = pieces(text, size)
    assert "".join(cut) == text
    assert all(0 < len(piece) <= 2 * size for piece in cut)


def test_a_long_answer_comes_in_several_pieces() -> None:
    """A cached answer still streams."""
    assert pieces("one two three four", 5) == ["one", " two", " three", " four"]

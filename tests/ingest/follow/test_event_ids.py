"""The ids of events: whatever is dropped wherever, what a client keeps is the answer."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.follow.answer_cursor import (
    AnswerCursor,
    ResumePoint,
    Step,
    StreamPosition,
    parse_event_id,
)
from ingest.native.chat import RequestEvents
from tests.ingest.fakes import answered

TEXTS = st.text(max_size=40)
#: Few letters, so that the beginnings of two attempts are often the same.
ALIKE = st.text(alphabet="ab ", max_size=30)


def _place(text: str) -> ResumePoint:
    return parse_event_id(StreamPosition(text).event_id)


@pytest.mark.parametrize("text", ["", "Paris", "naïve café", "👩‍🚀 and 🇫🇷", "a\r\nb\x00"])
def test_an_id_counts_characters_as_code_points(text: str) -> None:
    """Not bytes, not UTF-16 units, and not what a reader would call a character."""
    assert _place(text).chars == len(text)


def test_an_id_is_stable() -> None:
    """Clients keep it over our upgrades: the format may only be added to."""
    assert StreamPosition("").event_id == "0-ddd9c40767f9"
    assert StreamPosition("Paris is the capital.").event_id == "21-da90bd1350ff"


@given(st.lists(TEXTS))
def test_an_id_does_not_depend_on_the_pieces(pieces: list[str]) -> None:
    """Replicas cut the same answer differently."""
    position = StreamPosition()
    for piece in pieces:
        position.advance(piece)
    assert position.event_id == StreamPosition("".join(pieces)).event_id


@given(TEXTS, TEXTS, TEXTS)
def test_a_place_is_known_by_its_text(had: str, more: str, other: str) -> None:
    """It is in every text that begins with the client's, and in no other that is long enough."""
    assert _place(had).matches(had + more)
    if len(other) >= len(had):
        assert _place(had).matches(other) == other.startswith(had)


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "5",
        "-",
        "5-",
        "five-27bb89b06c68",
        "-5-27bb89b06c68",
        "5-27bb89b06c6",
        "5-27bb89b06c680",
        "5-27BB89B06C68",
        "5-27bb89b06c68\n",
        " 5-27bb89b06c68",
        "٥-27bb89b06c68",
        "1234567890-27bb89b06c68",
    ],
)
def test_what_is_no_id(event_id: str) -> None:
    """Anything that we do not write ourselves."""
    with pytest.raises(ValueError, match="not an event id of ours"):
        parse_event_id(event_id)


@pytest.mark.parametrize(
    ("had", "text", "content", "patient", "step"),
    [
        ("Hel", "Hello", None, True, "lo"),
        ("Hello", "Hello", None, True, Step.WAIT),
        ("", "", None, True, Step.WAIT),
        (
            "Hello",
            "Hel",
            None,
            True,
            Step.WAIT,
        ),  # this replica has not read that far, or a new attempt has begun
        ("Hello", "Hel", None, False, Step.RESET),  # a new attempt, then
        ("Hello", "", None, False, Step.WAIT),  # there is nothing to begin with
        ("Hel", "Hallo", None, True, Step.RESET),
        ("Hel", "", "Hello", True, "lo"),  # the reply has it all
        ("Hello", "Hello", "Hell", True, Step.RESET),  # what was sent was taken back
        ("Hello", "Hello", "", True, Step.RESET),
    ],
)
def test_the_first_step_of_a_client_that_comes_back(
    had: str, text: str, content: str | None, patient: bool, step: str | Step
) -> None:
    """Go on, wait, or start over."""
    cursor = AnswerCursor(_place(had))
    assert cursor.step(text, content, patient=patient) == step


def test_a_long_text_is_sent_in_steps() -> None:
    """So that no client has much of it in its connection."""
    cursor = AnswerCursor(max_chars=3)
    steps = [cursor.step("abcdefgh", None) for _ in range(4)]
    assert steps == ["abc", "def", "gh", Step.WAIT]


class Client:
    """Keeps the text of a stream as the documentation says: deltas are added, a reset drops them all."""

    def __init__(self) -> None:
        self.text = ""
        self.last_event_id = ""
        self.done = False

    def read(self, block: str) -> None:
        """Take one event."""
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        self.last_event_id = fields.get("id", self.last_event_id)
        match fields["event"]:
            case "delta":
                assert "id" in fields
                self.text += json.loads(fields["data"])["token"]
            case "reset":
                self.text = ""
            case "done":
                self.done = True


def _blocks(data: bytes) -> list[str]:
    return data.decode().split("\n\n")[:-1]


def _serve(last_event_id: str, views: list[tuple[str, str | None]], *, patient: bool) -> Iterator[str]:
    """Yield the events that one connection brings while its replica sees one view after the other."""
    cursor = AnswerCursor(parse_event_id(last_event_id) if last_event_id else None, max_chars=7)
    shape = RequestEvents("r")
    for text, content in views:
        while (step := cursor.step(text, content, patient=patient)) not in (Step.WAIT, Step.FINISH):
            if isinstance(step, str):
                yield from _blocks(shape.text(step, cursor.position))
            else:
                yield from _blocks(shape.reset() or b"")
        if step is Step.FINISH:
            yield from _blocks(shape.finish(answered(content=content or "")))


def _log(attempts: list[str], cuts: list[int]) -> list[str]:
    """Return the text as it is known after each delta: attempts one after the other, cut anywhere."""
    seen = [""]
    for attempt in attempts:
        ends = sorted({cut % (len(attempt) + 1) for cut in cuts} | {len(attempt)})
        seen += [attempt[:end] for end in ends]
    return seen


@given(
    attempts=st.lists(ALIKE, min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 30), max_size=8),
    drops=st.lists(
        st.tuples(st.integers(0, 25), st.integers(0, 25), st.integers(0, 8), st.booleans()), max_size=6
    ),
    content=st.one_of(st.none(), ALIKE),
)
def test_a_client_ends_with_the_answer_wherever_it_is_dropped(
    attempts: list[str],
    cuts: list[int],
    drops: list[tuple[int, int, int, bool]],
    content: str | None,
) -> None:
    """Any chunks, any attempts, any replica, behind or ahead: deltas and resets add up to the reply.

    Each drop: from which delta to which its replica sees the log, after how many events it breaks, and
    whether there is time to wait. `content` None: the reply is what the last attempt said.
    """
    log = _log(attempts, cuts)
    answer = attempts[-1] if content is None else content
    client = Client()
    for begin, length, events, patient in drops:
        first = begin % len(log)
        views: list[tuple[str, str | None]] = [(text, None) for text in log[first : first + length + 1]]
        for index, block in enumerate(_serve(client.last_event_id, views, patient=patient)):
            if index >= events:
                break
            client.read(block)
    for block in _serve(client.last_event_id, [("", None), (log[-1], None), ("", answer)], patient=True):
        client.read(block)
    assert (client.text, client.done) == (answer, True)


@given(ALIKE, st.data())
def test_an_ended_answer_resumes_with_the_very_next_character(answer: str, data: st.DataObject) -> None:
    """No character twice, none missed, and no reset."""
    at = data.draw(st.integers(0, len(answer)))
    client = Client()
    client.text, client.last_event_id = answer[:at], StreamPosition(answer[:at]).event_id
    blocks = list(_serve(client.last_event_id, [("", answer)], patient=True))
    assert not [block for block in blocks if block.startswith("event: reset")]
    for block in blocks:
        client.read(block)
    assert client.text == answer

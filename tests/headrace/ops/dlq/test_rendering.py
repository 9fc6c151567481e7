"""Dead letters on a terminal and as JSON."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from rich.cells import cell_len

from headrace.ops.dlq import rendering
from headrace.ops.dlq.actions import ActionOutcome, ActionResult
from headrace.ops.dlq.letters import LetterId, LetterState, LetterStatus, summary_of
from headrace.ops.dlq.reader import FaultGroup, ListedLetter
from headrace.ops.terminal_text import shortened
from streams.errors import UndecodableRecord
from streams.events import DeadLetterAction
from streams.publisher import Position
from tests.headrace.ops.dlq.dead_letter_records import buried, dead, record

EVIL = "\x1b[2J\x1b]0;gotcha\x07 [red]x[/red] \x9b31m \u202e"


def found(
    value: bytes | None = b"{not json", message: str = "not valid JSON", **fields: object
) -> ListedLetter:
    letter = summary_of(dead(buried(record(value, **fields), fault=UndecodableRecord(message))))
    return ListedLetter(letter=letter, state=LetterState(LetterStatus.REPLAYED, 1))


def test_a_list_shows_what_an_operator_looks_for() -> None:
    """Id, when, stage, fault, request, topic, replays and state on one line."""
    line = rendering.letters_table([found()]).splitlines()[1]
    for word in (
        "1:7",
        "Z",
        "guardrail",
        "UndecodableRecord",
        "not valid JSON",
        "r-1",
        "llm.requests.v1",
        "replayed",
    ):
        assert word in line


def test_columns_are_aligned_by_what_a_terminal_shows() -> None:
    """Wide characters take two cells."""
    wide, plain = found(message="m", key="日本".encode()), found(message="m", key=b"id")
    lines = rendering.letters_table([wide, plain]).splitlines()
    assert {cell_len(line) for line in lines[1:]} == {cell_len(lines[1])}


def test_a_long_message_is_shortened_to_one_line() -> None:
    """The whole of it is for `show`."""
    text = rendering.letters_table([found(message="first\nsecond " + "x" * 500)])
    assert len(text.splitlines()) == 2
    assert "…" in text
    assert shortened("x" * 61, 60) == "x" * 59 + "…"
    assert shortened("x" * 60, 60) == "x" * 60


@pytest.mark.parametrize("place", ["list", "summary", "page", "result"])
def test_what_a_stranger_wrote_cannot_steer_the_terminal(place: str) -> None:
    """No escape sequence, no markup and no change of direction gets through."""
    each = found(message=EVIL, key=EVIL.encode())
    fields = {"stage": EVIL, "exception": EVIL}
    letter = msgspec.structs.replace(each.letter, **fields, request_id=EVIL, topic=EVIL)
    evil = ListedLetter(letter=letter, state=each.state)
    group = FaultGroup(**fields, letters=1, oldest_ms=0, newest_ms=0)
    odd = dead(buried(record(EVIL.encode(), headers=((EVIL, EVIL.encode()),))))
    action = DeadLetterAction(
        dead_letter="1:7",
        action="replayed",
        by=EVIL,
        at=datetime.now(UTC),
        reason=EVIL,
    )
    text = {
        "list": lambda: rendering.letters_table([evil]),
        "summary": lambda: rendering.groups_table([group]),
        "page": lambda: rendering.letter_page(evil, odd, [action]),
        "result": lambda: rendering.result_line(
            ActionResult(letter_id=LetterId(1, 7), outcome=ActionOutcome.FAILED, detail=EVIL, letter=letter),
        ),
    }[place]()
    assert "gotcha" in text
    assert "[red]x[/red]" in text
    assert not set(text) & set("\x1b\x07\x9b\u202e")


def test_a_page_shows_every_header_and_the_json_indented() -> None:
    """Headers that are no text are escaped; the history says who did what when and why."""
    at = datetime(2026, 11, 21, 8, tzinfo=UTC)
    done = DeadLetterAction(dead_letter="1:7", action="replayed", by="ann", at=at, reason="redis is back")
    emit = buried(record(b'{"request_id":"r-1","query":"\xc3\xa4"}'))
    text = rendering.letter_page(found(b'{"request_id":"r-1"}'), dead(emit), [done])
    assert "  x-mine: \\x01\\xff\n" in text
    assert "  __streams.errors.stage: guardrail\n" in text
    assert '    "query": "ä"\n' in text
    assert "2026-11-21 08:00:00Z  replayed by ann: redis is back\n" in text
    assert "llm.requests.v1:2:41" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain words", "  plain words\n"),
        (b"\x00\xffab\x1b", "  \\x00\\xffab\\x1b\n"),
        (b"[" * 5_000, "  [[["),
        (None, "value (none)\n"),
        (b"", "value (0 bytes)\n"),
    ],
)
def test_a_value_that_is_no_json_is_shown_as_it_can_be(value: bytes | None, expected: str) -> None:
    """Text as text, bytes escaped."""
    assert expected in rendering.letter_page(found(value), dead(buried(record(value))), [])


def test_the_json_of_a_page_keeps_every_byte() -> None:
    """What is no text is in base64."""
    document = rendering.page_document(found(), dead(buried(record(b"\x00\xff"))), [])
    again = json.loads(msgspec.json.encode(document))
    assert again["value"] == {"base64": "AP8="}
    assert {"name": "x-mine", "value": {"base64": "Af8="}} in again["headers"]
    assert again["key"] == {"text": "r-1"}
    assert (again["id"], again["state"], again["replays"]) == ("1:7", "replayed", 1)


def test_a_result_says_what_was_done_or_why_not() -> None:
    """One line each, and the same for scripts."""
    letter = summary_of(dead())
    good = ActionResult(
        letter_id=LetterId(1, 7),
        outcome=ActionOutcome.REPLAYED,
        detail="to llm.requests.v1",
        letter=letter,
        number=2,
        sent_to=Position("llm.requests.v1", 0, 99),
    )
    assert rendering.result_line(good) == "1:7  replayed to llm.requests.v1 as replay 2  request r-1"
    assert rendering.result_document(good)["sent_to"] == "llm.requests.v1:0:99"
    bad = ActionResult(
        letter_id=LetterId(1, 8), outcome=ActionOutcome.MISSING, detail="no such dead letter (any more)"
    )
    assert rendering.result_line(bad) == "1:8  missing: no such dead letter (any more)"
    assert rendering.result_document(bad)["request_id"] is None

"""Which questions depend on when they are asked."""

import json
from pathlib import Path

import pytest

from agents.cache.time_dependence import depends_on_time

QUESTIONS = [
    json.loads(line) for line in Path(__file__).with_name("time_questions.jsonl").read_text().splitlines()
]


def test_questions_about_now_are_found_and_few_others() -> None:
    """At least nineteen of twenty in the labelled set; the figures are in docs/caching.md."""
    about_now = [each["text"] for each in QUESTIONS if each["now"]]
    timeless = [each["text"] for each in QUESTIONS if not each["now"]]
    missed = [text for text in about_now if not depends_on_time(text)]
    taken = [text for text in timeless if depends_on_time(text)]
    assert len(missed) <= len(about_now) / 20, missed
    assert len(taken) <= len(timeless) / 20, taken


@pytest.mark.parametrize(
    "text", ["What’s   the\nweather  like?", "TODAY", "x" * 50_000 + " What time is it?"]
)
def test_however_it_is_written(text: str) -> None:
    """Blanks, quotes and capitals mean nothing, and a question may stand at the end."""
    assert depends_on_time(text)


def test_a_long_document_is_not_a_question() -> None:
    """What it says of "today" in its middle is about its own day."""
    assert not depends_on_time("x " * 1_000 + "today" + " x" * 1_000)

"""What feedback says: its value, which score it is, and which version of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import decode, encode
from streams.errors import InvalidRequest
from streams.events import FeedbackGiven
from streams.request_rules.feedback import LABELS, MAX_VALUE, score_id_of, scored_at_of, value_of

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_a_value_where_there_is_no_other(label: str) -> None:
    """0 or 1; a value goes before it."""
    assert value_of(value=None, label=label) in (0, 1)
    assert value_of(value=Decimal("0.3"), label=label) == Decimal("0.3")


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity", "1000000.1", "-1e7", "1e999999"])
def test_what_is_no_value(value: str) -> None:
    """No number, or too far from zero."""
    with pytest.raises(InvalidRequest, match="must be a number from"):
        value_of(value=Decimal(value), label="up")


@settings(max_examples=30)
@given(st.decimals(-MAX_VALUE, MAX_VALUE, allow_nan=False))
def test_every_other_number_is_kept_to_nine_decimals(value: Decimal) -> None:
    """Rounded, not cut."""
    assert abs(value_of(value=value, label="") - value) <= Decimal("5e-10")


def test_the_same_judgement_is_the_same_score() -> None:
    """Whatever it says: of its name, source and scorer, unless it has an id of its own."""
    up = FeedbackGiven(request_id="r-1", label="up")
    assert score_id_of(up) == score_id_of(FeedbackGiven(request_id="r-1", label="down", comment="no"))
    assert score_id_of(FeedbackGiven(request_id="r-1", score_id="mine")) == "mine"
    others = [{"name": "tone"}, {"source": "judge"}, {"scorer": "a"}, {"name": "a", "scorer": "b"}]
    ids = {score_id_of(FeedbackGiven(request_id="r-1", **other)) for other in others}  # type: ignore[arg-type]  # texts
    assert len({score_id_of(up), *ids}) == 1 + len(others)


@settings(max_examples=30)
@given(st.integers(0, 10_000_000))
def test_versions_differ_by_less_than_a_millisecond_from_what_was_said(micros: int) -> None:
    """And not at all where the sender's clock counts in microseconds."""
    at = AT + timedelta(microseconds=micros)
    said = FeedbackGiven(request_id="r-1", label="up")
    version = scored_at_of(said, written_at=at)
    assert version == scored_at_of(decode(encode(said), FeedbackGiven), written_at=at)
    assert timedelta(0) <= version - at < timedelta(milliseconds=1)
    if micros % 1_000:
        assert version == at


def test_the_senders_own_time_goes_before_the_records() -> None:
    """So a judgement that was made yesterday does not undo one of this morning."""
    said = FeedbackGiven(request_id="r-1", label="up", scored_at=AT + timedelta(microseconds=7))
    assert scored_at_of(said, written_at=AT + timedelta(days=1)) == AT + timedelta(microseconds=7)

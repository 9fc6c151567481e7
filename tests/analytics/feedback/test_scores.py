"""What a record says, which request it means, and the row that becomes of both."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from analytics.feedback.scores import SCORES, request_of, row_of
from streams.errors import InputError
from streams.events import Erasure
from streams.redelivery import replayed
from tests.analytics.feedback.given import WRITTEN_AT, facts, feedback, judged, record
from tests.analytics.logs import NOON

ERASURE = Erasure(
    digest="d",
    salt="s",
    tenant="acme",
    mode="anonymise",
    pseudonym="erased-1",
    until=NOON + timedelta(hours=2),
)
LATER = NOON + timedelta(days=3)


def row(**given: object) -> dict[str, object]:
    """A row by its columns."""
    made = row_of(
        given.pop("said", judged(feedback(comment="nice"))),  # type: ignore[arg-type]
        facts(),
        ingested_at=LATER,
        **{"keep_comment": True, "erasure": None, **given},  # type: ignore[arg-type]
    )
    assert made is not None
    return dict(zip(SCORES.columns, made, strict=True))


def test_a_row_has_what_was_said_and_its_requests_facts() -> None:
    """On the request's own day; times in microseconds."""
    said = judged(feedback(value=Decimal("0.7"), source="judge", scorer="g", name="tone", score_id="s-1"))
    found = row(said=said)
    assert found["accepted_at"] == int(NOON.timestamp()) * 1_000_000
    assert found["ingested_at"] == int(LATER.timestamp()) * 1_000_000
    assert {name: found[name] for name in ("request_id", "score_id", "tenant", "user_id")} == {
        "request_id": "r-1",
        "score_id": "s-1",
        "tenant": "acme",
        "user_id": "ann",
    }
    assert (found["name"], found["value"], found["source"], found["scorer"]) == (
        "tone",
        Decimal("0.7"),
        "judge",
        "g",
    )
    assert (found["model"], found["prompt_template"], found["prompt_version"]) == ("gpt-4o", "support", "3")


@pytest.mark.parametrize(("keep", "comment"), [(True, "nice"), (False, "")])
def test_a_tenant_without_texts_has_no_comments(keep: bool, comment: str) -> None:
    """The score stays."""
    assert row(keep_comment=keep)["comment"] == comment


def test_an_erased_users_score_is_nobodys() -> None:
    """Under the pseudonym and without words; or not at all; or as it is, of a request of later."""
    anonymous = row(erasure=ERASURE)
    assert (anonymous["user_id"], anonymous["comment"], anonymous["value"]) == ("erased-1", "", 1)
    delete = msgspec.structs.replace(ERASURE, mode="delete")
    said = judged(feedback())
    assert row_of(said, facts(), ingested_at=LATER, keep_comment=True, erasure=delete) is None
    before = msgspec.structs.replace(ERASURE, until=NOON - timedelta(seconds=1))
    assert row(erasure=before)["user_id"] == "ann"


@pytest.mark.parametrize(
    ("label", "value", "expected"),
    [
        ("up", None, 1),
        ("down", None, 0),
        ("pass", None, 1),
        ("fail", None, 0),
        ("pass", Decimal("0.93"), Decimal("0.93")),
        ("whatever", Decimal(-3), -3),
        ("", Decimal("0.1234567894"), Decimal("0.123456789")),
    ],
)
def test_labels_and_values(label: str, value: Decimal | None, expected: Decimal) -> None:
    """A value counts before its label; nine decimals are kept."""
    assert judged(feedback(label=label, value=value)).value == expected


def test_a_record_of_a_broken_clock_is_feedback_all_the_same() -> None:
    """Unless its time fits no column."""
    assert judged(feedback(), timestamp_ms=-1).scored_at.year == 1970
    with pytest.raises(InputError, match="scored_at"):
        judged(feedback(), timestamp_ms=2**62)


def test_who_names_no_tenant_is_the_default_one() -> None:
    """As for requests."""
    assert judged(feedback(tenant=None)).tenant == "default"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "not valid JSON"),
        (b'{"label": "up"}', "request_id"),
        (b'{"request_id": "r-1"}', "give a value"),
        (b'{"request_id": "r-1", "value": "Infinity"}', "from -1000000 to 1000000"),
        (b'{"request_id": "r-1", "value": 1, "scored_at": "0001-01-01T00:00:00Z"}', "not between 1970"),
        (b'{"request_id": "r-1", "value": 1, "scored_at": "2026-01-01T00:00:00"}', "timezone"),
        (b'{"request_id": "r-1", "value": 1, "accepted_at": "9999-12-31T23:59:59Z"}', "accepted_at"),
        (b'{"request_id": "r-1", "value": 1, "accepted_at": "0001-01-01T00:00:00+23:59"}', "accepted_at"),
    ],
)
def test_what_is_no_feedback(value: bytes, reason: str) -> None:
    """The reason is for the dead letter."""
    with pytest.raises(InputError, match=reason):
        judged(value)  # type: ignore[arg-type]


def test_a_time_of_whole_milliseconds_gets_microseconds_of_its_own() -> None:
    """Two that Kafka's clock cannot tell apart have an order, always the same; others are left alone."""
    up, down = judged(feedback()), judged(feedback(label="down"))
    assert up.scored_at != down.scored_at
    assert up == judged(feedback())
    assert all(timedelta(0) <= each.scored_at - WRITTEN_AT < timedelta(milliseconds=1) for each in (up, down))
    exact = datetime(2026, 11, 21, 9, 30, 0, 123456, UTC)
    assert judged(feedback(scored_at=exact)).scored_at == exact


def test_a_replayed_dead_letter_says_what_it_said() -> None:
    """At the time of its first record: what was said since still counts."""
    first = record(feedback())
    headers = replayed((), record=f"{first.topic}:0:7", timestamp_ms=first.timestamp_ms, at_ms=0)
    later = int(LATER.timestamp() * 1000)
    assert judged(feedback(), headers=headers, timestamp_ms=later) == judged(feedback())
    assert judged(feedback(), timestamp_ms=later).scored_at > judged(feedback()).scored_at


def test_which_request_is_meant() -> None:
    """Of several with one id: the one of the time that is named, or the last one before the judgement."""
    first, second, third = (facts(accepted_at=NOON + timedelta(days=day)) for day in (-2, 0, 2))
    other = facts(tenant="globex")
    found = [third, other, first, second]
    assert request_of(judged(feedback()), found) is second
    assert request_of(judged(feedback(accepted_at=third.accepted_at)), found) is third
    assert request_of(judged(feedback(scored_at=first.accepted_at - timedelta(days=9))), found) is first
    assert request_of(judged(feedback()), [other]) is None
    assert request_of(judged(feedback()), []) is None

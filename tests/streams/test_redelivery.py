"""What headers say of former deliveries, and what is believed of it."""

from typing import Any

import msgspec
import pytest

from streams.redelivery import FIRST_DELIVERY, Headers, Redelivery, put_aside, redelivery, replayed

PLACE = "llm.misses.v1:3:41"
OWN: Headers = (("x", b"1"), ("ce_id", b"r-1"), ("x", b"2"))


class First(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is put aside."""

    address: str = PLACE
    written_ms: int = 1_000
    headers: Headers = OWN
    again: Redelivery = FIRST_DELIVERY


def forged(**headers: bytes) -> Headers:
    names = {
        "record": "__streams.origin.record",
        "timestamp": "__streams.origin.timestamp",
        "attempt": "__streams.retry.attempt",
        "not_before": "__streams.retry.not-before",
        "number": "__streams.replay.number",
        "at": "__streams.replay.at",
    }
    return tuple((names[name], value) for name, value in headers.items())


def believed(headers: Headers, *, topic: str = "llm.misses.v1", timestamp_ms: int = 9_000) -> Redelivery:
    return redelivery(headers).believed_of(topic=topic, timestamp_ms=timestamp_ms)


def test_a_first_delivery_says_nothing() -> None:
    """Nor do headers of others."""
    assert redelivery(OWN) is FIRST_DELIVERY
    assert redelivery((("__streams.errors.stage", b"llm"),)) == FIRST_DELIVERY


def test_a_copy_says_which_record_it_stands_for() -> None:
    """Its own headers come first, in their order, twice where they were twice."""
    headers = put_aside(First(), not_before_ms=5_000, reason="x" * 2_000)
    assert headers[:3] == OWN
    again = redelivery(headers)
    assert again == Redelivery(record=PLACE, timestamp_ms=1_000, attempt=1, not_before_ms=5_000)
    assert (again.topic, again.partition) == ("llm.misses.v1", 3)
    assert believed(headers) == again
    assert max(len(value) for _, value in headers) == 500


def test_a_copy_of_a_copy_stands_for_the_first() -> None:
    """And counts on; no header is there twice."""
    headers = put_aside(First(), not_before_ms=5_000, reason="redis")
    more = put_aside(First(headers=headers, again=believed(headers)), not_before_ms=7_000, reason="redis")
    assert redelivery(more) == Redelivery(record=PLACE, timestamp_ms=1_000, attempt=2, not_before_ms=7_000)
    assert len(more) == len(headers)


def test_a_replay_begins_its_attempts_anew_and_counts_on() -> None:
    """Replay, put aside, died again, replayed again."""
    once = replayed(OWN, record=PLACE, timestamp_ms=1_000, at_ms=6_000)
    aside = put_aside(First(headers=once, again=believed(once)), not_before_ms=7_000, reason="redis")
    assert believed(aside) == Redelivery(
        record=PLACE, timestamp_ms=1_000, attempt=1, not_before_ms=7_000, replay=1, replayed_at_ms=6_000
    )
    twice = replayed(aside, record=PLACE, timestamp_ms=1_000, at_ms=8_000)
    assert believed(twice) == Redelivery(record=PLACE, timestamp_ms=1_000, replay=2, replayed_at_ms=8_000)
    assert twice[:3] == OWN


@pytest.mark.parametrize(
    "place",
    [
        b"",
        b"llm.misses.v1",
        b"llm.misses.v1:3",
        b"llm.misses.v1:3:-1",
        b"llm.misses.v1:3:1x",
        b"llm.misses.v1:" + b"9" * 11 + b":1",
        b"llm.misses.v1:3:" + b"9" * 5_000,
        b"a b:3:1",
        b"t" * 250 + b":3:1",
        "llm.misses.v1:٣:٣".encode(),
        b"\xff:3:1",
        b"llm.misses.v1:3:1\n",
    ],
)
def test_what_is_no_place_names_none(place: bytes) -> None:
    """Whatever a stranger writes: no error, no number of five thousand digits."""
    assert redelivery(forged(record=place)).record is None
    assert believed(forged(record=place, number=b"1", at=b"1", attempt=b"1")) == FIRST_DELIVERY


@pytest.mark.parametrize("number", [b"", b"-1", b"1.5", b"x", b"\xff", b"9" * 16, "٣".encode()])
def test_what_is_no_number_counts_as_absent(number: bytes) -> None:
    """Each for itself."""
    headers = forged(
        record=PLACE.encode(), timestamp=number, attempt=number, not_before=number, number=number, at=number
    )
    assert redelivery(headers) == Redelivery(record=PLACE)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"record": b"llm.requests.v1:3:41", "number": b"1", "at": b"1"}, FIRST_DELIVERY),
        ({"number": b"1", "at": b"1", "timestamp": b"5"}, FIRST_DELIVERY),
        (
            {"record": PLACE.encode(), "timestamp": b"99999"},
            Redelivery(record=PLACE, timestamp_ms=9_000),
        ),
        ({"record": PLACE.encode()}, Redelivery(record=PLACE, timestamp_ms=9_000)),
        (
            {"record": PLACE.encode(), "number": b"2"},
            Redelivery(record=PLACE, timestamp_ms=9_000),
        ),
        (
            {"record": PLACE.encode(), "at": b"2"},
            Redelivery(record=PLACE, timestamp_ms=9_000),
        ),
        (
            {"record": PLACE.encode(), "number": b"1001", "at": b"2"},
            Redelivery(record=PLACE, timestamp_ms=9_000),
        ),
        (
            {"record": PLACE.encode(), "number": b"2", "at": b"99999"},
            Redelivery(record=PLACE, timestamp_ms=9_000, replay=2, replayed_at_ms=9_000),
        ),
    ],
)
def test_who_reads_a_record_believes_what_can_be(given: dict[str, Any], expected: Redelivery) -> None:
    """No other topic's record, nothing younger than the record itself, no number without its time."""
    assert believed(forged(**given)) == expected


def test_what_was_not_believed_does_not_come_back_with_a_copy() -> None:
    """Put aside, the record does have a first record: beside that, a forged replay would look true."""
    headers = (*OWN, *forged(number=b"7", at=b"1", attempt=b"9"))
    aside = put_aside(First(headers=headers, again=believed(headers)), not_before_ms=5_000, reason="redis")
    assert believed(aside) == Redelivery(record=PLACE, timestamp_ms=1_000, attempt=1, not_before_ms=5_000)

"""The books of the sink's benchmarks: they find a difference, and the generator makes what it says."""

from datetime import timedelta
from decimal import Decimal

import pytest

from analytics.sink.batches import ConsumedRecord
from analytics.sink.rows import rows_of
from bench.sink_books import Books, differences
from bench.sink_logs import BAD, LogFactory, Shape, days_before
from streams.codec import decode, encode
from streams.errors import InputError
from streams.events import RequestLog

SHAPE = Shape(
    seed=3, begin=days_before(2), span=timedelta(hours=1), expected=100, late_share=0.2, text_share=0.5
)


def test_the_same_seed_makes_the_same_records() -> None:
    """So that a run can be repeated."""
    one, other = LogFactory(SHAPE), LogFactory(SHAPE)
    assert [one.next() for _ in range(20)] == [other.next() for _ in range(20)]


def test_records_are_what_the_sink_stores() -> None:
    """Five stages, one or two calls, some late, some with texts; ids that are all different."""
    factory = LogFactory(SHAPE)
    logs = [factory.next() for _ in range(200)]
    assert len({log.request_id for log in logs}) == 200
    assert {len(log.timings) for log in logs} == {5}
    assert {len(log.calls) for log in logs} == {1, 2}
    assert {log.payload is None for log in logs} == {True, False}
    assert len({log.accepted_at.date() for log in logs}) > 1
    assert all(decode(encode(log), RequestLog) == log for log in logs)


def test_sums_are_by_day_and_tenant() -> None:
    """Each request once, with its stages and calls."""
    factory, books = LogFactory(SHAPE), Books()
    logs = [factory.next() for _ in range(50)]
    for log in logs:
        books.add(log)
    assert books.count("requests") == 50
    assert books.count("stages") == 250
    key = (logs[0].accepted_at.date(), logs[0].tenant)
    mine = [log for log in logs if (log.accepted_at.date(), log.tenant) == key]
    cost = sum((log.cost_usd for log in mine), Decimal(0))
    assert books.sums("cost_1d")[key][:1] == (len(mine),)
    assert books.sums("cost_1d")[key][3] == cost


def test_a_difference_is_told() -> None:
    """One more than there should be, and what is not there at all."""
    day = days_before(0).date()
    expected = {(day, "acme"): (1, 2), (day, "globex"): (3, 4)}
    found = {(day, "acme"): (1, 3)}
    assert differences(expected, expected) == []
    acme, globex = differences(expected, found)
    assert "1, 3 and not 1, 2" in acme
    assert "nothing and not 3, 4" in globex


@pytest.mark.parametrize("number", range(4))
def test_bad_records_are_refused(number: int) -> None:
    """These by the decoder or when they are laid out; the others by the insert."""
    record = ConsumedRecord(
        topic="t", partition=0, offset=0, timestamp_ms=0, value=BAD[number](LogFactory(SHAPE).next())
    )
    with pytest.raises(InputError):
        rows_of(decode(record.value, RequestLog), ingested_at=days_before(0))

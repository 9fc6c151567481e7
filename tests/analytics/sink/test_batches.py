"""Records are cut into batches, and batches into inserts."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.sink.batches import (
    BatchLimits,
    OffsetRange,
    PartitionBuffer,
    SinkBatch,
    partitions_to_pause,
    split_by_day,
)
from analytics.sink.rows import rows_of
from tests.analytics.logs import NOON, make_log, make_record

LIMITS = BatchLimits(rows=10, bytes=1_000, seconds=0.5, busy_seconds=1.0)


def records(first: int, last: int, size: int = 10) -> list:
    return [make_record(offset, b"x" * size) for offset in range(first, last + 1)]


def make_batch(first: int, last: int) -> SinkBatch:
    return SinkBatch(
        topic="llm.logs.v1",
        partition=2,
        range=OffsetRange(first, last),
        records=tuple(records(first, last)),
    )


def test_nothing_is_due_when_nothing_waits() -> None:
    """An empty buffer never makes a batch, not even when it is flushed."""
    assert not PartitionBuffer(LIMITS).due(1e9, end=0, flush=True)


def test_a_batch_is_due_at_so_many_rows() -> None:
    """Ten rows make a batch at once; an eleventh waits for the next one."""
    buffer = PartitionBuffer(LIMITS)
    buffer.add(records(0, 8), now=0)
    assert not buffer.due(0, end=99)
    buffer.add(records(9, 10), now=0)
    assert buffer.due(0, end=99)
    assert buffer.full
    assert buffer.take(0).range == OffsetRange(0, 9)
    assert len(buffer) == 1
    assert not buffer.full


def test_a_batch_is_due_some_time_after_its_first_record() -> None:
    """At low traffic a row waits half a second."""
    buffer = PartitionBuffer(LIMITS)
    buffer.add(records(0, 0), now=100.0)
    assert not buffer.due(100.4, end=1)
    assert buffer.due(100.5, end=1)
    assert buffer.take(100.5).range == OffsetRange(0, 0)
    buffer.add(records(1, 1), now=107.0)
    assert not buffer.due(107.2, end=2)


def test_records_in_company_wait_longer_but_not_for_ever() -> None:
    """Two wait 0.71 s, four or more 1 s: the batches grow as the rate does, up to their limits."""
    buffer = PartitionBuffer(LIMITS)
    buffer.add(records(0, 0), now=100.0)
    buffer.add(records(1, 1), now=100.4)
    assert not buffer.due(100.7, end=2)
    assert buffer.due(100.71, end=2)
    buffer.add(records(2, 8), now=100.7)
    assert not buffer.due(100.99, end=9)
    assert buffer.due(101.0, end=9)
    assert buffer.due(100.7, end=9, flush=True)
    buffer.add(records(9, 9), now=100.7)
    assert buffer.due(100.7, end=10)  # ten rows are a batch at any age


@pytest.mark.parametrize(
    ("rate", "batch_s"),
    [(0.1, 0.5), (1.0, 0.5), (2.0, 0.5), (4.0, 1.0), (8.0, 2.0), (12.0, 3.0), (500.0, 3.0)],
)
def test_batches_grow_in_step_with_the_rate(rate: float, batch_s: float) -> None:
    """Up to two records a second in a partition nothing waits longer than before; from twelve on, 3 s."""
    buffer = PartitionBuffer(BatchLimits(rows=10_000, bytes=10_000_000, seconds=0.5, busy_seconds=3.0))
    sent, now = 0, 0.0
    while not buffer.due(now, end=None):
        while sent / rate <= now:
            buffer.add(records(sent, sent), now=now)
            sent += 1
        now += 0.01
    assert now == pytest.approx(batch_s, abs=max(0.25, 0.1 * batch_s))


def test_a_longest_wait_below_the_shortest_counts_for_nothing() -> None:
    """Who sets HEADRACE_SINK_BATCH_SECONDS to ten means ten."""
    assert BatchLimits(rows=1, bytes=1, seconds=10.0, busy_seconds=3.0).max_age_s(100) == 10.0


def test_a_batch_is_cut_at_its_bytes_and_never_empty() -> None:
    """Large records make small batches, and one above the limit makes one of its own."""
    buffer = PartitionBuffer(BatchLimits(rows=10, bytes=100, seconds=9, busy_seconds=9))
    buffer.add(records(0, 4, size=60) + records(5, 5, size=500), now=0)
    ranges = []
    while len(buffer):
        ranges.append(str(buffer.take(0).range))
    assert ranges == ["0-1", "2-3", "4-5"]
    assert buffer.size_bytes == 0


def test_an_announced_range_is_repeated_exactly() -> None:
    """However the limits were changed meanwhile, and however many records are there already."""
    buffer = PartitionBuffer(LIMITS, replay=OffsetRange(5, 29))
    buffer.add(records(5, 20), now=0)
    assert not buffer.due(1e9, end=40, flush=True)  # neither by time nor by number
    assert not buffer.full  # reading must go on, or the range is never complete
    buffer.add(records(21, 33), now=0)
    assert buffer.due(0, end=40)
    assert buffer.take(0).range == OffsetRange(5, 29)
    assert not buffer.due(0, end=40)
    assert buffer.due(1, end=40)
    assert buffer.take(1).range == OffsetRange(30, 33)


def test_a_range_whose_end_was_lost_is_given_up_at_the_end_of_the_log() -> None:
    """After a truncation the announced offsets may never come: then what is there is a batch."""
    buffer = PartitionBuffer(LIMITS, replay=OffsetRange(0, 9))
    buffer.add(records(0, 4), now=0)
    assert not buffer.due(1, end=6)
    assert not buffer.due(1, end=None)
    assert buffer.due(1, end=5)
    assert buffer.take(1).range == OffsetRange(0, 4)


def test_a_range_that_has_expired_is_nothing_to_repeat() -> None:
    """Retention removed it: the batch begins with what is left, and no record is skipped."""
    buffer = PartitionBuffer(LIMITS, replay=OffsetRange(0, 9))
    buffer.add(records(50, 53), now=0)
    assert buffer.due(0, end=54)
    assert buffer.take(0).range == OffsetRange(50, 53)


@pytest.mark.parametrize(
    ("metadata", "committed", "expected"),
    [
        ("10-19", 10, OffsetRange(10, 19)),
        ("10-10", 10, OffsetRange(10, 10)),
        ("", 10, None),
        ("10-19", 11, None),
        ("19-10", 19, None),
        ("ten", 10, None),
        ("10-19 ", 10, None),
        ("-1-3", -1, None),
    ],
)
def test_only_a_range_that_begins_where_the_group_stands_counts(
    metadata: str, committed: int, expected: OffsetRange | None
) -> None:
    """Metadata of another tool, or of an earlier commit, announces nothing."""
    assert OffsetRange.parse(metadata, committed=committed) == expected


@given(
    sizes=st.lists(st.integers(min_value=0, max_value=400), min_size=1, max_size=60),
    chunks=st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=60),
    replay=st.none() | st.integers(min_value=0, max_value=70),
)
def test_batches_cover_every_record_once_and_in_order(
    sizes: list[int], chunks: list[int], replay: int | None
) -> None:
    """Whatever arrives in whatever pieces: no record is left out, none is in two batches."""
    arriving = [make_record(offset, b"x" * size) for offset, size in enumerate(sizes)]
    buffer = PartitionBuffer(LIMITS, replay=None if replay is None else OffsetRange(0, replay))
    batches: list[SinkBatch] = []
    position = 0
    for chunk in (*chunks, len(arriving)):
        buffer.add(arriving[position : position + chunk], now=0)
        position += chunk
        while buffer.due(0, end=len(arriving)):
            batches.append(buffer.take(0))
    while buffer.due(0, end=len(arriving), flush=True):
        batches.append(buffer.take(0))
    assert [record for batch in batches for record in batch.records] == arriving
    assert all(after.range.first == before.range.last + 1 for before, after in pairwise(batches))
    if replay is not None and replay < len(arriving):
        assert batches[0].range == OffsetRange(0, replay)


def test_a_batch_is_split_by_day_and_table_with_a_token_for_each() -> None:
    """Each insert has one day; requests come last, when their details are there."""
    batch = make_batch(40, 42)
    days = [NOON, NOON - timedelta(days=2), NOON]
    blocks = split_by_day(
        batch,
        [
            (place, rows_of(make_log(f"r-{place}", accepted_at=day), ingested_at=NOON))
            for place, day in enumerate(days)
        ],
    )
    early, late = (f"{at:%Y-%m-%d}" for at in (NOON - timedelta(days=2), NOON))
    assert [(block.token[-10:], block.table.name, len(block.rows)) for block in blocks] == [
        (early, "llm_calls_raw", 1),
        (early, "stages_raw", 5),
        (early, "requests_raw", 1),
        (late, "llm_calls_raw", 2),
        (late, "stages_raw", 10),
        (late, "requests_raw", 2),
    ]
    assert blocks[0].token == f"llm.logs.v1:2:40-42:llm_calls_raw:{early}"
    assert len({block.token for block in blocks}) == len(blocks)
    assert blocks[4].sources == [0] * 5 + [2] * 5


def test_tokens_do_not_depend_on_when_the_batch_is_written() -> None:
    """A second try has the same tokens, or ClickHouse could not know it again."""
    batch = make_batch(0, 0)
    tokens = [
        [block.token for block in split_by_day(batch, [(0, rows_of(make_log(), ingested_at=at))])]
        for at in (NOON, NOON + timedelta(days=1))
    ]
    assert tokens[0] == tokens[1]


def test_halves_of_a_block_have_their_rows_records_and_own_tokens() -> None:
    """Halving keeps each row with its record, loses none, and never repeats a token."""
    batch = make_batch(0, 2)
    requests = [(place, rows_of(make_log(f"r-{place}"), ingested_at=NOON)) for place in range(3)]
    block = next(block for block in split_by_day(batch, requests) if block.table.name == "requests_raw")
    first, second = block.halves()
    assert [*first.rows, *second.rows] == block.rows
    assert (first.sources, second.sources) == ([0], [1, 2])
    assert len({block.token, first.token, second.token, *(half.token for half in second.halves())}) == 5


def holding(count: int, *, size: int = 100, replay: OffsetRange | None = None) -> PartitionBuffer:
    """A buffer with records of about so many bytes, in which 1,000 bytes or ten records are a batch."""
    buffer = PartitionBuffer(LIMITS, replay=replay)
    buffer.add(records(0, count - 1, size), now=0)
    return buffer


def test_below_the_limit_only_full_buffers_have_enough() -> None:
    """A batch that waits for its turn is not added to; the others go on."""
    buffers = {"full": holding(10), "half": holding(5), "empty": holding(0)}
    assert partitions_to_pause(buffers, limit_bytes=10_000) == {"full"}


def test_at_the_limit_the_fullest_goes_on_until_it_is_a_whole_batch() -> None:
    """Were all of them to stop half full, each would have to wait until its records are old enough."""
    buffers = {"less": holding(3), "most": holding(6), "empty": holding(0)}
    assert partitions_to_pause(buffers, limit_bytes=900) == {"less", "empty"}


def test_at_the_limit_with_a_whole_batch_nobody_goes_on() -> None:
    """Whatever ClickHouse does, memory is bounded: by the limit and one batch."""
    buffers = {"full": holding(10), "half": holding(5), "empty": holding(0)}
    assert partitions_to_pause(buffers, limit_bytes=900) == {"full", "half", "empty"}


def test_a_range_that_is_to_be_replayed_is_always_completed() -> None:
    """Else it could never be written, and nothing of its partition either."""
    cut_off = holding(8, replay=OffsetRange(0, 20))
    assert partitions_to_pause({"cut off": cut_off, "full": holding(10)}, limit_bytes=900) == {"full"}
    assert partitions_to_pause({"cut off": cut_off}, limit_bytes=500) == set()


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    takes=st.lists(st.integers(0, 5), max_size=40),
)
def test_memory_is_bounded_and_there_is_always_something_to_do(sizes: list[int], takes: list[int]) -> None:
    """Whoever reads what is wanted fills a batch in a few reads, and never holds much more than the limit."""
    limit, offsets = 2_000, [0] * len(sizes)
    buffers = {place: PartitionBuffer(LIMITS) for place in range(len(sizes))}
    for take in takes:
        for _ in range(60):
            for place in buffers.keys() - partitions_to_pause(buffers, limit_bytes=limit):
                buffers[place].add(records(offsets[place], offsets[place], sizes[place]), now=0)
                offsets[place] += 1
                held = sum(buffer.size_bytes for buffer in buffers.values())
                assert held < limit + LIMITS.bytes + len(sizes) * 400
        full = [buffer for buffer in buffers.values() if buffer.full]
        assert full
        full[take % len(full)].take(0)

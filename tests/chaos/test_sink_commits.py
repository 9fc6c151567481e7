"""The check of a group's commits: it finds what breaks the sink's protocol."""

import struct

import pytest

from bench.sink_commits import Commit, faults_in, read_commit


def commit(offset: int, metadata: str = "", partition: int = 0) -> Commit:
    return Commit(partition=partition, offset=offset, metadata=metadata)


def key(group: str = "g", topic: str = "t", version: int = 1) -> bytes:
    texts = b"".join(struct.pack(">h", len(text)) + text.encode() for text in (group, topic))
    return struct.pack(">h", version) + texts + struct.pack(">i", 3)


def test_batches_that_follow_each_other_are_in_order() -> None:
    """Announced, finished, the next one: over two partitions, whose commits mix."""
    commits = [
        commit(0, "0-4"),
        commit(0, "0-9", 1),
        commit(5),
        commit(5, "5-5"),
        commit(10, "", 1),
        commit(6),
    ]
    assert faults_in(commits, {0: 6, 1: 10}) == (0, [])


def test_a_batch_that_is_repeated_exactly_is_counted() -> None:
    """As after a kill: the same range once more."""
    assert faults_in([commit(0, "0-4"), commit(0, "0-4"), commit(5)], {0: 5}) == (1, [])


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        ([commit(0, "0-4"), commit(5), commit(7, "7-9"), commit(10)], "7-9 announced after 5"),
        ([commit(0, "0-4"), commit(0, "0-9"), commit(10)], "0-9 announced after 0, 0-4 in hand"),
        ([commit(10)], "10 committed, nothing in hand"),
        ([commit(0, "0-4"), commit(10)], "10 committed, 0-4 in hand"),
        ([commit(0, "0-4"), commit(5)], "ends at 5, not 10"),
        ([commit(0, "0-9")], "0-9 was never finished"),
    ],
    ids=["a gap", "other bounds", "unannounced", "too far", "not to the end", "in hand"],
)
def test_what_breaks_the_protocol_is_told(commits: list[Commit], said: str) -> None:
    """Each in words that say where and what."""
    _, faults = faults_in(commits, {0: 10})
    assert any(said in fault for fault in faults)


@pytest.mark.parametrize(
    "value",
    [
        struct.pack(">hqh3sq", 1, 42, 3, b"1-2", 0),
        struct.pack(">hqih3sq", 3, 42, -1, 3, b"1-2", 0),
        struct.pack(">hqiB3sq", 4, 42, -1, 4, b"1-2", 0),
    ],
    ids=["version 1", "version 3", "version 4"],
)
def test_kafkas_own_records_are_read(value: bytes) -> None:
    """In every layout that brokers write."""
    expected = Commit(partition=3, offset=42, metadata="1-2")
    assert read_commit(key(), value, group="g", topic="t") == expected


@pytest.mark.parametrize(
    "other", [key(group="h"), key(topic="u"), key(version=2), None], ids=["group", "topic", "members", "none"]
)
def test_records_about_something_else_are_passed_over(other: bytes | None) -> None:
    """Other groups, other topics, the group's members."""
    assert read_commit(other, struct.pack(">hqih", 3, 1, -1, 0), group="g", topic="t") is None

"""The arithmetic of docs/performance.md."""

import sys

import pytest

from bench import capacity

FIGURES = "worker=6 ingest=3 kafka=1 redis=0.9 clickhouse=1 analytics=1".split()


def table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The rows that it prints, by their titles."""
    options = ["--kafka-kib", "16", "--redis-kib", "2", "--rates", "10", "1000", "--utilisation", "0.5"]
    monkeypatch.setattr(sys, "argv", ["capacity", *options, "--cpu-ms", *FIGURES])
    assert capacity.main() == 0
    rows = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:])
    return {title: cells for title, *cells in rows}


def test_what_a_rate_needs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 requests of 6 ms fill 12 cores to one half; 0.9 ms fill one Redis and most of a second one."""
    rows = table(capsys, monkeypatch)
    assert rows["worker processes"] == ["2", "12"]
    assert rows["deployments, because one Redis runs on one core"] == ["1", "2"]
    assert rows["partitions a topic, of each deployment"] == ["4", "8"]
    assert rows["written by Kafka in all, with replicas"] == ["0.5 MiB/s", "46.9 MiB/s"]
    assert rows["cores, at the assumed utilisation"] == ["0.3", "29.8"]


def test_an_unknown_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped name would leave its CPU time out."""
    monkeypatch.setattr(
        sys, "argv", ["capacity", "--kafka-kib", "1", "--redis-kib", "1", "--cpu-ms", "wroker=1"]
    )
    with pytest.raises(SystemExit):
        capacity.main()

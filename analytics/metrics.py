"""The analytics process's numbers in Prometheus' text format, version 0.0.4."""

from collections.abc import Iterator
from datetime import datetime

from analytics.alerts.status import WatchStatus
from analytics.status import SinkStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, float]


def exposition(sink: SinkStatus, watch: WatchStatus, *, now: datetime) -> str:
    """Return the page that Prometheus reads. What is not known (yet) has no sample."""
    return "".join(f"{line}\n" for line in (*_sink(sink), *_watch(watch, now)))


def _sink(sink: SinkStatus) -> Iterator[str]:
    yield from _family(
        "sink_records_total", "counter", "Log records stored by this process.", ("", sink.records)
    )
    yield from _family("sink_rows_total", "counter", "Rows inserted by this process.", ("", sink.rows))
    yield from _family("sink_batches_total", "counter", "Batches stored.", ("", sink.batches))
    yield from _family(
        "sink_replayed_batches_total",
        "counter",
        "Batches written again after a restart.",
        ("", sink.replayed_batches),
    )
    yield from _family(
        "sink_dead_letters_total", "counter", "Records that could not be stored.", ("", sink.dead_letters)
    )
    yield from _family(
        "sink_partitions",
        "gauge",
        "Partitions of llm.logs.v1 that this process stores.",
        ("", sink.partitions),
    )
    yield from _family(
        "sink_own_lag_records", "gauge", "Of these partitions, records not stored.", ("", sink.lag_records)
    )
    yield from _family(
        "sink_behind_seconds",
        "gauge",
        "Age of the oldest record that this process has read and not stored.",
        ("", sink.behind_s),
    )
    yield from _family("sink_ready", "gauge", "Whether records are being stored.", ("", sink.ready))


def _watch(watch: WatchStatus, now: datetime) -> Iterator[str]:
    yield from _family(
        "sink_lag_records",
        "gauge",
        "Log records that no process has stored yet.",
        *_known(watch.sink_lag_records),
    )
    yield from _family(
        "sink_stale_seconds",
        "gauge",
        "Age that the oldest of them has reached; 0 below HEADRACE_ALERT_STALE_S.",
        *_known(watch.sink_stale_s),
    )
    yield from _family(
        "freshness_seconds",
        "gauge",
        "Since the newest row of the table was written; none where the last day brought no row.",
        *(
            (f'{{table="{table}"}}', max((now - at).total_seconds(), 0.0))
            for table, at in sorted(watch.newest_rows.items())
        ),
    )
    yield from _family("watcher_active", "gauge", "Whether this process watches.", ("", watch.watching))
    yield from _family(
        "watcher_round_age_seconds",
        "gauge",
        "Since the watcher last looked.",
        *(() if watch.round_at is None else (("", (now - watch.round_at).total_seconds()),)),
    )
    yield from _family(
        "watcher_judged_until_seconds",
        "gauge",
        "End of the last window that was judged, as a Unix time.",
        *(() if watch.judged_until is None else (("", watch.judged_until.timestamp()),)),
    )
    yield from _family(
        "watcher_failed_rounds_total",
        "counter",
        "Looks that Kafka or ClickHouse did not answer.",
        ("", watch.failed_rounds),
    )
    yield from _family(
        "alerts_total",
        "counter",
        "Records that this process wrote to llm.alerts.v1.",
        ('{state="raised"}', watch.raised),
        ('{state="resolved"}', watch.resolved),
    )
    standing = [
        (f'{{rule="{rule}",severity="{severity}"}}', float(count))
        for (rule, severity), count in sorted(_standing(watch).items())
    ]
    yield from _family(
        "alerts_standing", "gauge", "Alerts that stand, where this process watches.", *standing
    )


def _standing(watch: WatchStatus) -> dict[tuple[str, str], int]:
    """Count by rule and severity; not by tenant, whose number has no bound."""
    counts: dict[tuple[str, str], int] = {}
    for event in watch.standing:
        kind = (event.rule, event.severity)
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _known(value: float | None) -> tuple[Sample, ...]:
    return () if value is None else (("", value),)


def _family(name: str, kind: str, text: str, *samples: Sample) -> Iterator[str]:
    yield f"# HELP headrace_{name} {text}"
    yield f"# TYPE headrace_{name} {kind}"
    for labels, value in samples:
        yield f"headrace_{name}{labels} {value + 0}"  # + 0: a truth as a number

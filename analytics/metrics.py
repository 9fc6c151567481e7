"""The analytics process's numbers in Prometheus' text format, version 0.0.4."""

from collections.abc import Iterator
from datetime import datetime

from analytics.alerts.status import WatchStatus
from analytics.feedback.status import FeedbackStatus
from analytics.sink.status import SinkStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, float]


def exposition(sink: SinkStatus, watch: WatchStatus, feedback: FeedbackStatus, *, now: datetime) -> str:
    """Return the page that Prometheus reads. What is not known (yet) has no sample."""
    return "".join(f"{line}\n" for line in (*_sink(sink), *_feedback(feedback, now), *_watch(watch, now)))


def _sink(sink: SinkStatus) -> Iterator[str]:
    yield from family(
        "sink_records_total", "counter", "Log records stored by this process.", ("", sink.records)
    )
    yield from family("sink_rows_total", "counter", "Rows inserted by this process.", ("", sink.rows))
    yield from family("sink_batches_total", "counter", "Batches stored.", ("", sink.batches))
    yield from family(
        "sink_replayed_batches_total",
        "counter",
        "Batches written again after a restart.",
        ("", sink.replayed_batches),
    )
    yield from family(
        "sink_dead_letters_total", "counter", "Records that could not be stored.", ("", sink.dead_letters)
    )
    yield from family(
        "sink_partitions",
        "gauge",
        "Partitions of llm.logs.v1 that this process stores.",
        ("", sink.partitions),
    )
    yield from family(
        "sink_own_lag_records", "gauge", "Of these partitions, records not stored.", ("", sink.lag_records)
    )
    yield from family(
        "sink_behind_seconds",
        "gauge",
        "Age of the oldest record that this process has read and not stored.",
        ("", sink.behind_s),
    )
    yield from family("sink_ready", "gauge", "Whether records are being stored.", ("", sink.ready))


def _feedback(feedback: FeedbackStatus, now: datetime) -> Iterator[str]:
    yield from family(
        "feedback_records_total", "counter", "Records of llm.feedback.v1 read.", ("", feedback.records)
    )
    yield from family("feedback_scores_total", "counter", "Scores stored.", ("", feedback.scores))
    yield from family(
        "feedback_dead_letters_total",
        "counter",
        "Feedback that could not become a score.",
        ("", feedback.dead_letters),
    )
    yield from family(
        "feedback_waiting", "gauge", "Feedback without a row of its request yet.", ("", feedback.waiting)
    )
    since = feedback.waiting_since
    yield from family(
        "feedback_waiting_seconds",
        "gauge",
        "Since the oldest of it was read.",
        ("", max((now - since).total_seconds(), 0.0) if since else 0.0),
    )


def _watch(watch: WatchStatus, now: datetime) -> Iterator[str]:
    yield from family(
        "sink_lag_records",
        "gauge",
        "Log records that no process has stored yet.",
        *_known(watch.sink_lag_records),
    )
    yield from family(
        "sink_stale_seconds",
        "gauge",
        "Age that the oldest of them has reached; 0 below HEADRACE_ALERT_STALE_S.",
        *_known(watch.sink_stale_s),
    )
    yield from family(
        "freshness_seconds",
        "gauge",
        "Since the newest row of the table was written; none where the last day brought no row.",
        *(
            (f'{{table="{table}"}}', max((now - at).total_seconds(), 0.0))
            for table, at in sorted(watch.newest_rows.items())
        ),
    )
    yield from family("watcher_active", "gauge", "Whether this process watches.", ("", watch.watching))
    yield from family(
        "watcher_round_age_seconds",
        "gauge",
        "Since the watcher last looked.",
        *(() if watch.round_at is None else (("", (now - watch.round_at).total_seconds()),)),
    )
    yield from family(
        "watcher_judged_until_seconds",
        "gauge",
        "End of the last window that was judged, as a Unix time.",
        *(() if watch.judged_until is None else (("", watch.judged_until.timestamp()),)),
    )
    yield from family(
        "watcher_failed_rounds_total",
        "counter",
        "Looks that Kafka or ClickHouse did not answer.",
        ("", watch.failed_rounds),
    )
    yield from family(
        "alerts_total",
        "counter",
        "Records that this process wrote to llm.alerts.v1.",
        ('{state="raised"}', watch.raised),
        ('{state="resolved"}', watch.resolved),
    )
    standing = [
        (f'{{rule="{rule}",severity="{severity}"}}', float(count))
        for (rule, severity), count in watch.standing_counts().items()
    ]
    yield from family("alerts_standing", "gauge", "Alerts that stand, where this process watches.", *standing)


def _known(value: float | None) -> tuple[Sample, ...]:
    return () if value is None else (("", value),)


def family(name: str, kind: str, text: str, *samples: Sample) -> Iterator[str]:
    """Yield the lines of a metric.

    Args:
        name: without the prefix.
        kind: counter or gauge; of a histogram, samples begin with the rest of their name (`_sum`).
        text: what it is.
        samples: labels and value of each.
    """
    yield f"# HELP headrace_{name} {text}"
    yield f"# TYPE headrace_{name} {kind}"
    for labels, value in samples:
        yield f"headrace_{name}{labels} {value + 0}"  # + 0: a truth as a number

"""A worker's numbers in Prometheus' text format, version 0.0.4."""

from collections.abc import Callable, Iterator, Sequence

from agents.runner.watchdog.watchdog import StageReport

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Name, type, help, and the number of one stage; None where there is none yet.
_METRICS: tuple[tuple[str, str, str, Callable[[StageReport], float | None]], ...] = (
    ("partitions", "gauge", "Partitions assigned.", lambda it: len(it.view.partitions)),
    ("in_flight", "gauge", "Records being worked on.", lambda it: len(it.view.in_flight)),
    ("in_flight_limit", "gauge", "Records that may be worked on at once.", lambda it: it.view.limit),
    (
        "oldest_in_flight_seconds",
        "gauge",
        "Age of the oldest record being worked on.",
        lambda it: it.oldest_in_flight_s,
    ),
    (
        "lag_records",
        "gauge",
        "Records of the assigned partitions that are not committed.",
        lambda it: it.view.lag,
    ),
    ("last_ack_age_seconds", "gauge", "Since the last acknowledgement.", lambda it: it.last_ack_age_s),
    (
        "last_commit_age_seconds",
        "gauge",
        "Since the last commit that moved.",
        lambda it: it.last_commit_age_s,
    ),
    ("acked_total", "counter", "Records that were acknowledged.", lambda it: it.view.counts.acked),
    (
        "put_aside_total",
        "counter",
        "Records that went to the retry topic.",
        lambda it: it.view.counts.put_aside,
    ),
    (
        "dead_letters_total",
        "counter",
        "Records that became dead letters.",
        lambda it: it.view.counts.dead_letters,
    ),
    (
        "handed_back_total",
        "counter",
        "Records given up at a rebalance, to be delivered again.",
        lambda it: it.view.counts.handed_back,
    ),
    ("rebalances_total", "counter", "Rebalances of the consumer group.", lambda it: it.view.rebalances),
)


def exposition(reports: Sequence[StageReport], *, stalled: bool) -> str:
    """Return the page that Prometheus reads."""
    return "".join(f"{line}\n" for line in _lines(reports, stalled=stalled))


def _lines(reports: Sequence[StageReport], *, stalled: bool) -> Iterator[str]:
    for name, kind, text, number in _METRICS:
        full = f"headrace_worker_{name}"
        yield f"# HELP {full} {text}"
        yield f"# TYPE {full} {kind}"
        for report in reports:
            value = number(report)
            if value is not None:
                yield f'{full}{{stage="{report.view.name}"}} {value}'
    yield "# HELP headrace_worker_stalled Whether the watchdog found a stage to be stuck."
    yield "# TYPE headrace_worker_stalled gauge"
    yield f"headrace_worker_stalled {int(stalled)}"

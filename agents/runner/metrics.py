"""A worker's stages on `/metrics`."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.runner.watchdog.watchdog import StageReport, Watchdog

_Number = Callable[[StageReport], float | None]
#: Name, help, and the number of one stage; None where there is none yet.
_GAUGES: tuple[tuple[str, str, _Number], ...] = (
    ("partitions", "Partitions assigned.", lambda it: len(it.view.partitions)),
    ("in_flight", "Records being worked on.", lambda it: len(it.view.in_flight)),
    ("in_flight_limit", "Records that may be worked on at once.", lambda it: it.view.limit),
    (
        "oldest_in_flight_seconds",
        "Age of the oldest record being worked on.",
        lambda it: it.oldest_in_flight_s,
    ),
    ("lag_records", "Records of the assigned partitions that are not committed.", lambda it: it.view.lag),
    ("last_ack_age_seconds", "Since the last acknowledgement.", lambda it: it.last_ack_age_s),
    ("last_commit_age_seconds", "Since the last commit that moved.", lambda it: it.last_commit_age_s),
)
_COUNTERS: tuple[tuple[str, str, _Number], ...] = (
    ("acked", "Records that were acknowledged.", lambda it: it.view.counts.acked),
    ("put_aside", "Records that went to the retry topic.", lambda it: it.view.counts.put_aside),
    ("dead_letters", "Records that became dead letters.", lambda it: it.view.counts.dead_letters),
    (
        "handed_back",
        "Records given up at a rebalance, to be delivered again.",
        lambda it: it.view.counts.handed_back,
    ),
    ("rebalances", "Rebalances of the consumer group.", lambda it: it.view.rebalances),
)


class StageMetrics:
    """Collects the numbers of every stage when Prometheus asks for them.

    Args:
        watchdog: knows the stages of this worker.
    """

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog

    def collect(self) -> Iterator[Metric]:
        """Yield one metric family per number, with one sample per stage."""
        reports = self._watchdog.reports()
        for metrics, family_type in ((_GAUGES, GaugeMetricFamily), (_COUNTERS, CounterMetricFamily)):
            for name, text, number in metrics:
                family = family_type(f"headrace_worker_{name}", text, labels=["stage"])
                for report in reports:
                    value = number(report)
                    if value is not None:
                        family.add_metric([report.view.name], value)
                yield family
        stalled = self._watchdog.stalled is not None
        yield GaugeMetricFamily(
            "headrace_worker_stalled", "Whether the watchdog found a stage to be stuck.", value=stalled
        )

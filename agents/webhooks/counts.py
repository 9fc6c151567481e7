"""Counts of webhook deliveries since the process began, for the worker's `/metrics`."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_OUTCOMES = ("delivered", "gone", "retried", "dead_lettered")


class WebhookCounts:
    """Counts tries by outcome, the webhooks being sent now, and the bytes that wait."""

    def __init__(self) -> None:
        self._outcomes = Counter[str]()
        self.in_flight = 0
        self.waiting_bytes = 0

    def count(self, outcome: str) -> None:
        """Count a try by its outcome."""
        self._outcomes[outcome] += 1

    def __getitem__(self, outcome: str) -> int:
        return self._outcomes[outcome]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. Every outcome has a sample from the start: a rate then sees its first count."""
        tries = CounterMetricFamily("headrace_webhooks", "Tries to deliver a webhook.", labels=["outcome"])
        for outcome in _OUTCOMES:
            tries.add_metric([outcome], self._outcomes[outcome])
        yield tries
        yield GaugeMetricFamily(
            "headrace_webhooks_in_flight", "Webhooks that are being sent.", value=self.in_flight
        )
        yield GaugeMetricFamily(
            "headrace_webhooks_waiting_bytes",
            "Bytes that wait in Redis, for all workers.",
            value=self.waiting_bytes,
        )

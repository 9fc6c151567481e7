"""Counts of the provider calls of settled requests since the process began, for the worker's `/metrics`."""

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from streams.events import LlmCall


class CallCounts:
    """Counts calls by model, and those among them whose usage is an estimate."""

    def __init__(self) -> None:
        self._calls = Counter[str]()
        self._estimated = Counter[str]()

    def count(self, calls: Iterable[LlmCall]) -> None:
        """Count the calls of a request that is settled."""
        for call in calls:
            self._calls[call.request_model] += 1
            self._estimated[call.request_model] += call.usage.estimated

    def collect(self) -> Iterator[Metric]:
        """Yield the two counters, with one sample per model."""
        for name, text, numbers in (
            ("booked", "Provider calls that were booked, by the model asked.", self._calls),
            ("estimated", "Booked calls whose usage the provider did not report.", self._estimated),
        ):
            family = CounterMetricFamily(f"headrace_calls_{name}", text, labels=["model"])
            for model, number in sorted(numbers.items()):
                family.add_metric([model], number)
            yield family

"""Calls of the requests that were settled, counted since the process began; on the worker's /metrics."""

from collections import Counter
from collections.abc import Iterable, Iterator

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

    def lines(self) -> Iterator[str]:
        """Return the counters in Prometheus' text format."""
        yield "# HELP headrace_calls_booked_total Provider calls that were booked, by the model asked."
        yield "# TYPE headrace_calls_booked_total counter"
        for model, number in sorted(self._calls.items()):
            yield f'headrace_calls_booked_total{{model="{model}"}} {number}'
        yield "# HELP headrace_calls_estimated_total Booked calls whose usage the provider did not report."
        yield "# TYPE headrace_calls_estimated_total counter"
        for model, number in sorted(self._estimated.items()):
            yield f'headrace_calls_estimated_total{{model="{model}"}} {number}'

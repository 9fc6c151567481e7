"""What became of webhooks, counted since the process began; on the worker's /metrics."""

from collections import Counter
from collections.abc import Iterator

_OUTCOMES = ("delivered", "gone", "retried", "dead_lettered")


class WebhookCounts:
    """Counters, how many webhooks are being sent at the moment, and how much waits."""

    def __init__(self) -> None:
        self._outcomes = Counter[str]()
        self.in_flight = 0
        self.waiting_bytes = 0

    def count(self, outcome: str) -> None:
        """Count a try by what came of it."""
        self._outcomes[outcome] += 1

    def __getitem__(self, outcome: str) -> int:
        return self._outcomes[outcome]

    def lines(self) -> Iterator[str]:
        """Return the counters in Prometheus' text format."""
        yield "# HELP headrace_webhooks_total Tries to deliver a webhook, by what came of them."
        yield "# TYPE headrace_webhooks_total counter"
        for outcome in _OUTCOMES:
            yield f'headrace_webhooks_total{{outcome="{outcome}"}} {self._outcomes[outcome]}'
        yield "# HELP headrace_webhooks_in_flight Webhooks that are being sent."
        yield "# TYPE headrace_webhooks_in_flight gauge"
        yield f"headrace_webhooks_in_flight {self.in_flight}"
        yield "# HELP headrace_webhooks_waiting_bytes What waits in Redis, for all workers."
        yield "# TYPE headrace_webhooks_waiting_bytes gauge"
        yield f"headrace_webhooks_waiting_bytes {self.waiting_bytes}"

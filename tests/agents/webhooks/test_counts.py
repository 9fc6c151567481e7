"""The counters on a worker's /metrics."""

from agents.webhooks.counts import WebhookCounts


def test_every_outcome_has_a_line_from_the_start() -> None:
    """A rate over a counter that appears late would miss its first count."""
    counts = WebhookCounts()
    counts.count("delivered")
    counts.count("delivered")
    counts.in_flight = 3
    counts.waiting_bytes = 4_000
    lines = [line for line in counts.lines() if not line.startswith("#")]
    assert lines == [
        'headrace_webhooks_total{outcome="delivered"} 2',
        'headrace_webhooks_total{outcome="gone"} 0',
        'headrace_webhooks_total{outcome="retried"} 0',
        'headrace_webhooks_total{outcome="dead_lettered"} 0',
        "headrace_webhooks_in_flight 3",
        "headrace_webhooks_waiting_bytes 4000",
    ]

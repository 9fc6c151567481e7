"""The counters on a worker's /metrics."""

from agents.webhooks.deliverer import WebhookCounts


def test_every_outcome_has_a_line_from_the_start() -> None:
    """A rate over a counter that appears late would miss its first count."""
    counts = WebhookCounts()
    counts.count("delivered")
    counts.count("delivered")
    counts.in_flight = 3
    counts.waiting_bytes = 4_000
    samples = [
        (sample.name, *sample.labels.values(), sample.value)
        for family in counts.collect()
        for sample in family.samples
    ]
    assert samples == [
        ("headrace_webhooks_total", "delivered", 2),
        ("headrace_webhooks_total", "gone", 0),
        ("headrace_webhooks_total", "retried", 0),
        ("headrace_webhooks_total", "dead_lettered", 0),
        ("headrace_webhooks_in_flight", 3),
        ("headrace_webhooks_waiting_bytes", 4_000),
    ]

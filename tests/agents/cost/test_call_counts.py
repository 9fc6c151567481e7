"""Calls counted by model."""

import msgspec
from prometheus_client import CollectorRegistry

from agents.cost.stage import CallCounts
from streams.events import Usage
from tests.agents.cost.calls import llm_call


def test_calls_and_estimates_are_counted_by_the_model_asked() -> None:
    """As Prometheus reads them; a model without an estimate has a zero."""
    registry = CollectorRegistry()
    counts = CallCounts(registry)
    known = llm_call()
    guessed = msgspec.structs.replace(known, request_model="gpt-4o-mini", usage=Usage(estimated=True))
    counts.count([known, known, guessed])
    samples = [
        (sample.name, sample.labels["model"], sample.value)
        for family in registry.collect()
        for sample in family.samples
    ]
    assert samples == [
        ("headrace_calls_booked_total", known.request_model, 2),
        ("headrace_calls_booked_total", "gpt-4o-mini", 1),
        ("headrace_calls_estimated_total", known.request_model, 0),
        ("headrace_calls_estimated_total", "gpt-4o-mini", 1),
    ]

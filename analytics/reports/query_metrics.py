"""The numbers of analysts' queries in Prometheus' text format, version 0.0.4."""

import math
from collections.abc import Iterator

from analytics.metrics import Sample, family
from analytics.reports.query_counts import QueryCounts
from analytics.reports.query_slots import QuerySlots

_REFUSED = "refused"


def query_exposition(counts: QueryCounts, slots: QuerySlots) -> str:
    """Return what follows the page that `analytics.metrics.exposition` writes.

    Args:
        counts: what came of queries so far.
        slots: who runs and who waits now.
    """
    return "".join(f"{line}\n" for line in _lines(counts, slots))


def _lines(counts: QueryCounts, slots: QuerySlots) -> Iterator[str]:
    yield from family("analyst_queries_running", "gauge", "Queries that run.", ("", slots.running))
    yield from family(
        "analyst_queries_waiting", "gauge", "Queries that wait for their turn.", ("", slots.waiting)
    )
    yield from family(
        "analyst_queries_refused_total",
        "counter",
        "Queries that had no turn in time.",
        ("", sum(count for ended, count in counts.ended.items() if ended.outcome == _REFUSED)),
    )
    yield from family(
        "analyst_queries_total",
        "counter",
        "Queries by name and what came of them; left: the client did, before it had the whole answer.",
        *(
            (f'{{query="{ended.query}",outcome="{ended.outcome}"}}', count)
            for ended, count in sorted(
                counts.ended.items(), key=lambda item: (item[0].query, item[0].outcome)
            )
        ),
    )
    yield from family(
        "analyst_query_seconds",
        "histogram",
        "From the question to the last byte of the answer, the wait for a turn included.",
        *(sample for query in sorted(counts.durations) for sample in _histogram(counts, query)),
    )


def _histogram(counts: QueryCounts, query: str) -> Iterator[Sample]:
    durations = counts.durations[query]
    total = 0
    for bound, total in durations.cumulated():
        shown = "+Inf" if math.isinf(bound) else f"{bound:g}"
        yield f'_bucket{{query="{query}",le="{shown}"}}', total
    yield f'_sum{{query="{query}"}}', round(durations.seconds, 6)
    yield f'_count{{query="{query}"}}', total

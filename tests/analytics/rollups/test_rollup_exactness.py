"""However records arrive and whenever rollups are computed, they are exact: against an oracle in Python."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.clickhouse import ClickHouse
from analytics.rollups.refresh import RollupRefresher
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.events import RequestLog
from streams.publisher import Publisher
from tests.analytics.logs import make_log
from tests.analytics.rollup_oracle import Score, expected, found, insert_scores, varied_logs
from tests.analytics.sink.test_exactness import batch
from tests.databases import THOROUGH

pytestmark = pytest.mark.integration

Step = Callable[[], Awaitable[object]]
Everything = tuple[list[RequestLog], list[Score]]

values = st.decimals(
    min_value=-1_000_000, max_value=1_000_000, places=9, allow_nan=False, allow_infinity=False
)


@pytest.fixture
def everything() -> Everything:
    """What all examples of a test have stored: they share a database, and rollups know no request ids."""
    return [], []


@st.composite
def scores_of(draw: st.DrawFn, logs: list[RequestLog]) -> list[Score]:
    """Return scores of some of the requests, days late, some of them corrected once or twice."""
    found: list[Score] = []
    for number in range(draw(st.integers(0, 4))):
        log = draw(st.sampled_from(logs))
        name = draw(st.sampled_from(("helpfulness", "thumbs")))
        late = timedelta(hours=draw(st.integers(0, 100)))
        found += [
            Score(
                log=log,
                score_id=f"s-{number}",
                scored_at=log.accepted_at + late + timedelta(seconds=correction),
                value=draw(values),
                name=name,
            )
            for correction in range(draw(st.integers(1, 3)))
        ]
    return found


@given(data=st.data())
@settings(
    max_examples=4 * THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_rollups_are_exact_whatever_is_redelivered(
    clickhouse: ClickHouse, everything: Everything, data: st.DataObject
) -> None:
    """Any cut, any share again in any bounds and order, over three days, with runs and merges in between."""
    run = uuid4().hex
    count = data.draw(st.integers(min_value=1, max_value=10))
    logs = [data.draw(varied_logs(f"{run}-{number}")) for number in range(count)]
    scores = data.draw(scores_of(logs))
    refresher = RollupRefresher(clickhouse)
    steps = _deliveries(clickhouse, run, logs, data)
    steps += [_scoring(clickhouse, run, scores, data, again) for again in range(2) if scores]
    steps += [refresher.refresh for _ in range(data.draw(st.integers(0, 3)))]
    steps += [_merge(clickhouse, data) for _ in range(data.draw(st.integers(0, 1)))]
    for step in data.draw(st.permutations(steps)):
        await step()
    everything[0].extend(logs)
    everything[1].extend(scores)
    await refresher.refresh()
    assert await found(clickhouse) == expected(*everything)
    await RollupRefresher(clickhouse).refresh()  # another process, which knows nothing of the first one
    assert await found(clickhouse) == expected(*everything)


def _deliveries(clickhouse: ClickHouse, run: str, logs: list[RequestLog], data: st.DataObject) -> list[Step]:
    """Return the writes of all records at least once, by writers with clocks that are hours apart."""
    count = len(logs)
    cuts = sorted({0, count, *data.draw(st.lists(st.integers(0, count), max_size=3))})
    again = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).map(sorted)
    bounds = [
        *((start, stop - 1) for start, stop in pairwise(cuts)),
        *data.draw(st.lists(again | st.just((0, count - 1)), max_size=3)),
    ]
    return [_delivery(clickhouse, run, logs, bound, data) for bound in bounds]


def _delivery(
    clickhouse: ClickHouse, run: str, logs: list[RequestLog], bound: Sequence[int], data: st.DataObject
) -> Step:
    stamped = logs[0].finished_at + timedelta(hours=data.draw(st.integers(0, 9)))
    writer = BatchWriter(
        clickhouse, Publisher("nowhere:1", client_id="unused"), SinkStatus(), clock=lambda: stamped
    )
    first, last = bound
    records = batch(f"llm.logs.{run}", range(first, last + 1), logs)
    return lambda: writer.write(records)


def _scoring(clickhouse: ClickHouse, run: str, scores: list[Score], data: st.DataObject, again: int) -> Step:
    rows = data.draw(st.permutations(scores))
    return lambda: insert_scores(clickhouse, rows, token=f"{run}:{again}")


def _merge(clickhouse: ClickHouse, data: st.DataObject) -> Step:
    table = data.draw(st.sampled_from(("requests_raw", "stages_raw", "llm_calls_raw", "scores_raw")))
    return lambda: clickhouse.execute(f"OPTIMIZE TABLE {table} FINAL")


def test_the_oracle_knows_a_correction() -> None:
    """Of two scores with the same id the one that was given later counts, whatever their order."""
    log = make_log("r-1")
    first = Score(log=log, score_id="s", scored_at=log.accepted_at, value=Decimal(1))
    second = Score(log=log, score_id="s", scored_at=log.finished_at, value=Decimal(5))
    for order in ([first, second], [second, first]):
        [figures] = expected([], order)["quality_1d"].values()
        assert figures == (1, Decimal(5), Decimal(25), Decimal(5), Decimal(5))

"""What an erasure does to the rollups: exactly the user's days are computed again, and they are exact."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import USERS_ROLLUP, RowEraser, UsersRollup
from analytics.rollups.refresh import RollupRefresher
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.erasure import ErasureList, Subject
from streams.events import Erasure, ErasureMode, RequestLog
from streams.publisher import Publisher
from tests.analytics.logs import NOON, make_log
from tests.analytics.rollup_oracle import expected, found, varied_logs
from tests.analytics.rollups.test_refresh import Dying, Killed
from tests.analytics.sink.test_exactness import batch
from tests.analytics.stored_logs import store
from tests.databases import THOROUGH

pytestmark = pytest.mark.integration

UNTIL = NOON + timedelta(days=2)
Step = Callable[[], Awaitable[object]]


class Known:
    """The list of erasures as it is at any moment."""

    def __init__(self) -> None:
        self.list = ErasureList()

    def order(self, subject: Subject, mode: ErasureMode) -> Erasure:
        """Put a user on it."""
        erasure = self.list.ordered(subject, mode=mode, until=UNTIL)
        self.list = self.list.learned([(erasure.digest, erasure)])
        return erasure

    async def current(self) -> ErasureList:
        return self.list


class DyingServer(Dying):
    """As `Dying`; of one server."""

    cluster = ""


async def erase(clickhouse: ClickHouse, subject: Subject, erasure: Erasure) -> None:
    await RowEraser(clickhouse).erase(subject, erasure)
    await UsersRollup(clickhouse).erase(subject, erasure)


async def refresh(clickhouse: ClickHouse) -> set[date]:
    """Compute what is due, by a process that knows nothing of earlier ones; return the days."""
    days: set[date] = set()
    refresher = RollupRefresher(clickhouse)
    while (progress := await refresher.refresh()).refreshed:
        days |= {item.day for item in progress.refreshed}
    return days


@pytest.mark.parametrize("mode", ["anonymise", "delete"])
async def test_only_the_users_days_are_computed_again(clickhouse: ClickHouse, mode: ErasureMode) -> None:
    """Of seven days with requests the user was there on two; before and after a merge."""
    logs = [
        make_log(
            f"r-{back}-{user}",
            user_id=user,
            accepted_at=NOON - timedelta(days=6 * back),
        )
        for back in range(7)
        for user in (("ann", "bob") if back in {1, 5} else ("bob",))
    ]
    await store(clickhouse, logs)
    assert len(await refresh(clickhouse)) == 7
    anns = {log.accepted_at.date() for log in logs if log.user_id == "ann"}
    known, ann = Known(), Subject("acme", "ann")
    await erase(clickhouse, ann, known.order(ann, mode))
    assert await refresh(clickhouse) == anns
    for table in ("requests_raw", "llm_calls_raw", "stages_raw"):
        await clickhouse.execute(f"OPTIMIZE TABLE {table} FINAL")
    assert await refresh(clickhouse) == set()
    assert await found(clickhouse) == expected(as_erased(logs, known.list))


async def test_a_day_that_was_the_users_alone_is_gone(clickhouse: ClickHouse) -> None:
    """There is nothing to swap in for it; other days stay."""
    logs = [
        make_log(f"r-{user}", user_id=user, accepted_at=NOON - timedelta(days=back))
        for user, back in (("ann", 0), ("bob", 1))
    ]
    await store(clickhouse, logs)
    await refresh(clickhouse)
    known, ann = Known(), Subject("acme", "ann")
    erasure = known.order(ann, "delete")
    await erase(clickhouse, ann, erasure)
    assert await UsersRollup(clickhouse).days(ann, erasure) == []
    assert (await found(clickhouse))["users_1d"] == expected(logs[1:])["users_1d"]
    await refresh(clickhouse)
    assert await found(clickhouse) == expected(logs[1:])


def as_erased(logs: list[RequestLog], erasures: ErasureList) -> list[RequestLog]:
    """Return what is to be left of log records."""
    left = []
    for log in logs:
        erasure = erasures.find(Subject(log.tenant, log.user_id))
        if erasure is None:
            left.append(log)
        elif erasure.mode == "anonymise":
            left.append(msgspec.structs.replace(log, user_id=erasure.pseudonym))
    return left


@pytest.fixture
def everything() -> list[RequestLog]:
    """What is left of all examples of a test: they share a database, and rollups know no request ids."""
    return []


@given(data=st.data())
@settings(
    max_examples=4 * THOROUGH,
    phases=(Phase.reuse, Phase.generate),  # examples share a database: what fails once fails for ever
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_rollups_are_exact_whenever_users_are_erased(
    clickhouse: ClickHouse, everything: list[RequestLog], data: st.DataObject
) -> None:
    """Between deliveries, redeliveries and runs; killed between any two steps, and done again in the end."""
    run = uuid4().hex
    users = [f"{name}-{run}" for name in ("ann", "bob", "cid")]
    logs = [
        msgspec.structs.replace(
            data.draw(varied_logs(f"{run}-{number}")), user_id=data.draw(st.sampled_from(users))
        )
        for number in range(data.draw(st.integers(1, 8)))
    ]
    known = Known()
    refresher = RollupRefresher(clickhouse)
    bounds = st.tuples(st.integers(0, len(logs) - 1), st.integers(0, len(logs) - 1)).map(sorted)
    steps: list[Step] = [
        _delivery(clickhouse, run, logs, bound, known)
        for bound in [*data.draw(st.lists(bounds, max_size=2)), (0, len(logs) - 1)]
    ]
    modes: tuple[ErasureMode, ...] = ("anonymise", "delete")
    wanted = [
        (Subject(data.draw(st.sampled_from(("acme", "globex", ""))), user), data.draw(st.sampled_from(modes)))
        for user in users[:2]
    ]
    kills = st.tuples(st.integers(0, 8), st.booleans())
    steps += [_killed_erasure(clickhouse, known, each, data.draw(kills)) for each in wanted]
    steps += [refresher.refresh for _ in range(data.draw(st.integers(0, 3)))]
    for step in data.draw(st.permutations(steps)):
        await step()
    for subject, mode in wanted:
        await erase(clickhouse, subject, known.order(subject, mode))
    everything.extend(as_erased(logs, known.list))
    while (await refresher.refresh()).refreshed:
        pass
    assert await found(clickhouse) == expected(everything)
    assert await refresh(clickhouse) == set()  # another process finds nothing to do


def _delivery(
    clickhouse: ClickHouse, run: str, logs: list[RequestLog], bound: Sequence[int], known: Known
) -> Step:
    first, last = bound
    publisher = Publisher("nowhere:1", client_id="unused")
    writer = BatchWriter(clickhouse, publisher, SinkStatus(), erasures=known)
    return lambda: writer.write(batch(f"llm.logs.{run}", range(first, last + 1), logs))


def _killed_erasure(
    clickhouse: ClickHouse, known: Known, wanted: tuple[Subject, ErasureMode], kill: tuple[int, bool]
) -> Step:
    subject, mode = wanted
    at, after = kill

    async def step() -> None:
        dying: ClickHouse = DyingServer(clickhouse, at=at, after=after)  # type: ignore[assignment]  # all it needs
        try:
            await erase(dying, subject, known.order(subject, mode))
        except Killed:
            # Who comes next would wait for two minutes, and drop it then: `analytics.rollups.partition_swap`.
            await clickhouse.execute(f"DROP TABLE IF EXISTS {USERS_ROLLUP}_staging_swap SYNC")

    return step

"""A user is erased from the tables, and whatever comes again stays erased: on the real engine."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import USER_TABLES, RowEraser, UsersRollup
from analytics.rollups.refresh import RollupRefresher
from analytics.sink.batches import OffsetRange, SinkBatch
from analytics.sink.writer import BatchWriter
from analytics.status import SinkStatus
from streams.erasure import ErasureList, Subject
from streams.events import Erasure, ErasureMode, Payload, RequestLog
from streams.publisher import Publisher
from tests.analytics.logs import NOON, make_log, make_record, request_logs
from tests.databases import THOROUGH

pytestmark = pytest.mark.integration

UNTIL = NOON + timedelta(days=1)
TABLES = (*(table.name for table in USER_TABLES), "stages_raw")
TEXT = Payload(request_text="I am Ann", reply_text="Hello Ann")

Rows = list[dict[str, Any]]


class Told:
    """A list of erasures that is told in parts: the n-th question gets the n-th answer, then the last."""

    def __init__(self, *lists: ErasureList) -> None:
        self._lists = list(lists)

    async def current(self) -> ErasureList:
        return self._lists.pop(0) if len(self._lists) > 1 else self._lists[0]


def writer(clickhouse: ClickHouse, *lists: ErasureList) -> BatchWriter:
    publisher = Publisher("nowhere:1", client_id="unused")
    return BatchWriter(clickhouse, publisher, SinkStatus(), erasures=Told(*(lists or (ErasureList(),))))


def erasing(subject: Subject, mode: ErasureMode = "anonymise") -> tuple[Erasure, ErasureList]:
    erasure = ErasureList().ordered(subject, mode=mode, until=UNTIL)
    return erasure, ErasureList().learned([(erasure.digest, erasure)])


def batch(topic: str, logs: Sequence[RequestLog], first: int = 0, last: int | None = None) -> SinkBatch:
    offsets = range(first, (len(logs) - 1 if last is None else last) + 1)
    return SinkBatch(
        topic=topic,
        partition=0,
        range=OffsetRange(offsets[0], offsets[-1]),
        records=tuple(make_record(offset, logs[offset]) for offset in offsets),
    )


async def named(clickhouse: ClickHouse, user: str) -> dict[str, int]:
    """How many rows of each table, merged or not, name the user."""
    found = {}
    for table in USER_TABLES:
        sql = f"SELECT count() AS n FROM {table.name} WHERE user_id = {{user:String}}"
        [row] = await clickhouse.query(sql, {"user": user})
        found[table.name] = row["n"]
    return found


async def sums(clickhouse: ClickHouse, run: str) -> list[Rows]:
    """What analysts sum up, by tenant and model, to the nano-dollar."""
    of_run = f"WHERE startsWith(request_id, '{run}') GROUP BY ALL ORDER BY ALL"
    figures = {
        "requests": "tenant, model, status, count(), sum(cost_usd), countIf(error IS NOT NULL)",
        "llm_calls": "tenant, request_model, count(), sum(cost_usd), sum(output_tokens)",
        "stages": "tenant, stage, count(), sum(duration_us)",
    }
    return [await clickhouse.query(f"SELECT {what} FROM {view} {of_run}") for view, what in figures.items()]


async def rows_of(clickhouse: ClickHouse, user: str) -> list[Rows]:
    """Every row of a user, without when it was stored."""
    return [
        await clickhouse.query(
            f"SELECT * EXCEPT ingested_at FROM {view} WHERE user_id = {{user:String}} ORDER BY ALL",
            {"user": user},
        )
        for view in ("requests", "llm_calls", "payloads")
    ]


@given(data=st.data())
@settings(
    max_examples=4 * THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_an_erased_user_does_not_come_back(clickhouse: ClickHouse, data: st.DataObject) -> None:
    """However the log is delivered before and again after: no row names them, and no sum changes."""
    run = uuid4().hex
    ann, bob = f"ann-{run}", f"bob-{run}"
    count = data.draw(st.integers(min_value=1, max_value=10))
    logs = [
        msgspec.structs.replace(
            data.draw(request_logs(f"{run}-{number}")), user_id=data.draw(st.sampled_from((ann, bob)))
        )
        for number in range(count)
    ]
    bounds = st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).map(sorted), max_size=3)
    for first, last in [*data.draw(bounds), (0, count - 1)]:
        await writer(clickhouse).write(batch(run, logs, first, last))
    before, of_bob = await sums(clickhouse, run), await rows_of(clickhouse, bob)
    subject = Subject(data.draw(st.sampled_from(("acme", "globex", ""))), ann)
    erasure, known = erasing(subject)
    await RowEraser(clickhouse).erase(subject, erasure)
    assert not any((await RowEraser(clickhouse).count(subject, erasure)).values())
    for first, last in data.draw(bounds):
        await writer(clickhouse, known).write(batch(run, logs, first, last))
    assert not any((await RowEraser(clickhouse).count(subject, erasure)).values())
    assert await sums(clickhouse, run) == before
    assert await rows_of(clickhouse, bob) == of_bob
    namesakes = {log.request_id for log in logs if log.user_id == ann and log.tenant != subject.tenant}
    assert {row["request_id"] for row in (await rows_of(clickhouse, ann))[0]} == namesakes


async def test_no_copy_of_the_name_is_left(clickhouse: ClickHouse) -> None:
    """Nor of the texts, in parts that were not merged yet: not hidden, gone. The rest of the row stays."""
    ann = Subject("acme", f"ann-{uuid4().hex}")
    logs = [
        make_log(
            f"{ann.user_id}-{number}",
            user_id=ann.user_id,
            session_id="s",
            payload=TEXT,
            error="I",
            error_code="e",
        )
        for number in range(3)
    ]
    for run in ("one", "two"):
        await writer(clickhouse).write(batch(run, logs))
    erasure, _ = erasing(ann)
    eraser = RowEraser(clickhouse)
    assert await eraser.count(ann, erasure) == {
        "payloads_raw": 6,
        "scores_raw": 0,
        "llm_calls_raw": 6,
        "requests_raw": 6,
    }
    await eraser.erase(ann, erasure)
    assert set((await named(clickhouse, ann.user_id)).values()) == {0}
    rows = await clickhouse.query(
        "SELECT DISTINCT user_id, session_id, error, error_code, cost_usd FROM requests_raw "
        "WHERE startsWith(request_id, {run:String})",
        {"run": ann.user_id},
    )
    assert [(row["user_id"], row["session_id"], row["error"]) for row in rows] == [
        (erasure.pseudonym, "", "e")
    ]
    assert rows[0]["cost_usd"] == logs[0].cost_usd
    assert await eraser.request_ids(ann, erasure) == [log.request_id for log in logs]


async def test_deletion_takes_every_row_and_keeps_it_out(clickhouse: ClickHouse) -> None:
    """Those that an earlier erasure has made anonymous among them; the stages too."""
    run = uuid4().hex
    ann, bob = Subject("acme", f"ann-{run}"), f"bob-{run}"
    logs = [
        make_log(f"{run}-{number}", user_id=(ann.user_id, bob)[number % 2], payload=TEXT)
        for number in range(4)
    ]
    await writer(clickhouse).write(batch(run, logs))
    soft, _ = erasing(ann)
    await RowEraser(clickhouse).erase(ann, soft)
    hard = msgspec.structs.replace(soft, mode="delete")
    known = ErasureList().learned([(hard.digest, hard)])
    assert (await RowEraser(clickhouse).count(ann, hard))["stages_raw"] == 10
    await RowEraser(clickhouse).erase(ann, hard)
    await writer(clickhouse, known).write(batch("again", logs))
    for name in TABLES:
        rows = await clickhouse.query(
            f"SELECT DISTINCT request_id FROM {name} WHERE startsWith(request_id, '{run}')"
        )
        found = {row["request_id"] for row in rows}
        assert found == (set() if name == "scores_raw" else {f"{run}-1", f"{run}-3"}), name


async def test_a_batch_that_was_under_way_when_the_user_was_erased(clickhouse: ClickHouse) -> None:
    """The erasure found nothing yet; the sink looks at the list once more when it has written."""
    ann = Subject("acme", f"ann-{uuid4().hex}")
    erasure, known = erasing(ann)
    await RowEraser(clickhouse).erase(ann, erasure)
    logs = [make_log(f"{ann.user_id}-1", user_id=ann.user_id, payload=TEXT)]
    await writer(clickhouse, ErasureList(), known).write(batch("t", logs))
    assert set((await named(clickhouse, ann.user_id)).values()) == {0}


async def test_a_batch_that_a_sink_wrote_and_died_over(clickhouse: ClickHouse) -> None:
    """Its successor writes the same range again, knows of the erasure, and clears away what lies there."""
    ann = Subject("acme", f"ann-{uuid4().hex}")
    erasure, known = erasing(ann)
    logs = [make_log(f"{ann.user_id}-1", user_id=ann.user_id, payload=TEXT)]
    await RowEraser(clickhouse).erase(ann, erasure)
    await writer(clickhouse).write(batch("t", logs))  # by a sink that died before it looked again
    await writer(clickhouse, known).write(batch("t", logs))
    assert set((await named(clickhouse, ann.user_id)).values()) == {0}
    [row] = await clickhouse.query(
        "SELECT user_id, cost_usd FROM requests WHERE request_id = {id:String}", {"id": logs[0].request_id}
    )
    assert (row["user_id"], row["cost_usd"]) == (erasure.pseudonym, logs[0].cost_usd)


ODD = ("O'Brien", "a\\b", "tab\there", "line\nbreak", "{x:String}", "100%(s)s", "Zoë", '"')


async def test_whatever_a_user_is_called(clickhouse: ClickHouse) -> None:
    """Ids are the senders' choice: they are parameters, never part of a statement."""
    for name in (" ".join(ODD), "".join(reversed(ODD))):
        run = uuid4().hex
        ann = Subject("acme", f"{name} {run}")
        erasure, known = erasing(ann)
        logs = [
            make_log(run, user_id=ann.user_id, payload=TEXT),
            make_log(f"{run}-b", user_id=f"other {run}"),
        ]
        await writer(clickhouse).write(batch(run, logs))
        assert await RowEraser(clickhouse).any_rows([ann]), name
        assert sum((await RowEraser(clickhouse).count(ann, erasure)).values()) == 3, name
        await writer(clickhouse, ErasureList(), known).write(batch(run, logs))
        assert not await RowEraser(clickhouse).any_rows([ann]), name
        rows = await clickhouse.query(f"SELECT user_id FROM requests WHERE startsWith(request_id, '{run}')")
        assert {row["user_id"] for row in rows} == {erasure.pseudonym, f"other {run}"}, name


async def test_a_user_who_comes_back_is_a_new_user(clickhouse: ClickHouse) -> None:
    """What was accepted after the erasure is stored as everybody's."""
    ann = Subject("acme", f"ann-{uuid4().hex}")
    erasure = ErasureList().ordered(ann, mode="anonymise", until=NOON)
    known = ErasureList().learned([(erasure.digest, erasure)])
    logs = [
        make_log(f"{ann.user_id}-{number}", user_id=ann.user_id, accepted_at=NOON + timedelta(seconds=number))
        for number in range(2)
    ]
    await writer(clickhouse, known).write(batch("t", logs))
    rows = await clickhouse.query(
        "SELECT user_id FROM requests WHERE startsWith(request_id, {run:String}) ORDER BY accepted_at",
        {"run": ann.user_id},
    )
    assert [row["user_id"] for row in rows] == [erasure.pseudonym, ann.user_id]


async def test_scores_lose_the_user_and_their_words(clickhouse: ClickHouse) -> None:
    """The verdict itself stays."""
    ann = Subject("acme", f"ann-{uuid4().hex}")
    await clickhouse.execute(
        "INSERT INTO scores_raw (request_id, score_id, tenant, user_id, accepted_at, scored_at, name, value, "
        "comment) SELECT 'r', {user:String}, 'acme', {user:String}, toDateTime64({at:String}, 6, 'UTC'), "
        "now64(6), 'thumbs', 1, 'I am Ann'",
        {"user": ann.user_id, "at": f"{NOON:%Y-%m-%d %H:%M:%S}"},
    )
    erasure, _ = erasing(ann)
    await RowEraser(clickhouse).erase(ann, erasure)
    [row] = await clickhouse.query("SELECT * FROM scores WHERE score_id = {id:String}", {"id": ann.user_id})
    assert (row["user_id"], row["comment"], row["value"]) == (erasure.pseudonym, "", 1)


@pytest.fixture
async def rolled_up(clickhouse: ClickHouse) -> Subject:
    """A user on two days, with others, and the rollups of them."""
    run = uuid4().hex
    ann = Subject("acme", f"ann-{run}")
    asked = [(ann, 0), (Subject("acme", "bob"), 0), (ann, 1), (Subject("globex", ann.user_id), 1)]
    logs = [
        make_log(
            f"{run}-{number}",
            tenant=user.tenant,
            user_id=user.user_id,
            accepted_at=NOON - timedelta(days=days),
        )
        for number, (user, days) in enumerate(asked)
    ]
    await writer(clickhouse).write(batch(run, logs))
    await refresh(clickhouse)
    return ann


async def refresh(clickhouse: ClickHouse) -> None:
    refresher = RollupRefresher(clickhouse)
    while (await refresher.refresh()).due:
        pass


async def by_user(clickhouse: ClickHouse) -> dict[tuple[str, str], tuple[Any, ...]]:
    rows = await clickhouse.query(
        "SELECT tenant, user_id, sum(requests) AS n, sum(cost_usd) AS usd FROM users_1d "
        "GROUP BY tenant, user_id"
    )
    return {(row["tenant"], row["user_id"]): (row["n"], row["usd"]) for row in rows}


@pytest.mark.parametrize("waits", [False, True])
async def test_the_rollup_forgets_the_name_and_keeps_the_sums(
    clickhouse: ClickHouse, rolled_up: Subject, waits: bool
) -> None:
    """At once; and where the raw rows' mutation is noticed first, the days come out the same."""
    before = await by_user(clickhouse)
    erasure, _ = erasing(rolled_up)
    rollup = UsersRollup(clickhouse)
    assert len(await rollup.days(rolled_up, erasure)) == 2
    await RowEraser(clickhouse).erase(rolled_up, erasure)
    if waits:
        await refresh(clickhouse)
        assert await rollup.days(rolled_up, erasure) == []
    await rollup.erase(rolled_up, erasure)
    assert await rollup.days(rolled_up, erasure) == []
    of_ann = before.pop(("acme", rolled_up.user_id))
    expected = before | {("acme", erasure.pseudonym): of_ann}
    assert await by_user(clickhouse) == expected
    await refresh(clickhouse)
    assert await by_user(clickhouse) == expected
    left = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%_staging_%'"
    assert await clickhouse.query(left) == []


async def test_a_deleted_user_leaves_the_rollup(clickhouse: ClickHouse, rolled_up: Subject) -> None:
    """Under either name; everybody else's figures stay, whoever computes the days next."""
    before = await by_user(clickhouse)
    soft, _ = erasing(rolled_up)
    rollup = UsersRollup(clickhouse)
    await RowEraser(clickhouse).erase(rolled_up, soft)
    await rollup.erase(rolled_up, soft)
    hard = msgspec.structs.replace(soft, mode="delete")
    await RowEraser(clickhouse).erase(rolled_up, hard)
    assert len(await rollup.days(rolled_up, hard)) == 2
    await rollup.erase(rolled_up, hard)
    before.pop(("acme", rolled_up.user_id))
    assert await by_user(clickhouse) == before
    await refresh(clickhouse)
    assert await by_user(clickhouse) == before


async def test_a_day_on_which_the_user_came_back_keeps_the_name(
    clickhouse: ClickHouse, rolled_up: Subject
) -> None:
    """It is computed anew: what was before under the pseudonym, what came after under the name."""
    log = make_log("back", user_id=rolled_up.user_id, accepted_at=NOON + timedelta(minutes=1))
    await writer(clickhouse).write(batch("back", [log]))
    erasure = ErasureList().ordered(rolled_up, mode="anonymise", until=NOON)
    await RowEraser(clickhouse).erase(rolled_up, erasure)
    rollup = UsersRollup(clickhouse)
    assert await rollup.days(rolled_up, erasure) == [(NOON - timedelta(days=1)).date()]
    await rollup.erase(rolled_up, erasure)
    await refresh(clickhouse)
    found = await by_user(clickhouse)
    assert (found["acme", rolled_up.user_id][0], found["acme", erasure.pseudonym][0]) == (1, 2)

"""The gateway to ClickHouse: exact inserts, and faults that say whether to try again."""

import asyncio
import gc
import weakref
from datetime import timedelta
from decimal import Decimal

import pytest

from analytics.clickhouse import ClickHouse, RowsRefused
from analytics.sink.rows import REQUESTS, rows_of
from streams.errors import ClickHouseUnavailable
from streams.events import RequestLog
from tests.analytics.logs import NOON, make_log

pytestmark = pytest.mark.integration


async def insert(clickhouse: ClickHouse, logs: list[RequestLog], token: str) -> None:
    rows = [dict(rows_of(log, ingested_at=NOON).rows)[REQUESTS][0] for log in logs]
    await clickhouse.insert(REQUESTS.name, REQUESTS.columns, rows, token=token)


async def count(clickhouse: ClickHouse, source: str = "requests") -> int:
    [row] = await clickhouse.query(f"SELECT count() AS n FROM {source}")
    return int(row["n"])


async def test_an_insert_with_a_known_token_changes_nothing(clickhouse: ClickHouse) -> None:
    """The first line of defence: not even the raw table has the rows twice."""
    logs = [make_log(f"r-{number}") for number in range(10)]
    for _ in range(3):
        await insert(clickhouse, logs, "t:0:0-9")
    assert await count(clickhouse, "requests_raw") == 10
    await insert(clickhouse, logs, "t:0:0-10")
    assert await count(clickhouse, "requests_raw") == 20
    assert await count(clickhouse) == 10


async def test_a_token_is_known_after_many_other_inserts(clickhouse: ClickHouse) -> None:
    """The window is long enough for a batch that a restart repeats while other partitions go on."""
    await insert(clickhouse, [make_log("first")], "first")
    for number in range(150):
        await insert(clickhouse, [make_log(f"r-{number}")], f"t-{number}")
    await insert(clickhouse, [make_log("first")], "first")
    assert await count(clickhouse, "requests_raw") == 151


async def test_every_value_comes_back_as_it_went_in(clickhouse: ClickHouse) -> None:
    """Microseconds, nano-dollars, nulls, lists and any text survive."""
    log = make_log(
        accepted_at=NOON + timedelta(microseconds=123_457),
        cost_usd=Decimal("999999999.999999999"),
        error="line\n'quote' \\ tab\t \x00 ünïcode 🙂",
        pii_types=("email", "phone"),
        cache_similarity=0.9234567890123456,
        latency_ms=0.1,
    )
    await insert(clickhouse, [log, make_log("r-2")], "t")
    rows = await clickhouse.query(
        "SELECT *, toUnixTimestamp64Micro(timestamp) AS at FROM requests ORDER BY request_id"
    )
    assert rows[0]["at"] == int(NOON.timestamp()) * 1_000_000 + 123_457
    for field in ("cost_usd", "error", "cache_similarity", "latency_ms", "tenant", "status"):
        assert rows[0][field] == getattr(log, field), field
    assert rows[0]["pii_types"] == ["email", "phone"]
    assert (rows[1]["error"], rows[1]["cache_similarity"]) == (None, None)


@pytest.mark.parametrize(
    "log",
    [
        make_log(""),  # the server's constraint
        make_log(input_tokens=-1),  # the client's encoder
        make_log(output_tokens=2**32),
    ],
)
async def test_a_row_that_does_not_fit_is_the_rows_fault(clickhouse: ClickHouse, log: RequestLog) -> None:
    """Trying again would not help, and no row of the insert is stored."""
    with pytest.raises(RowsRefused, match="requests_raw"):
        await insert(clickhouse, [make_log("good"), log], "t")
    assert await count(clickhouse) == 0
    await insert(clickhouse, [make_log("good")], "t")  # the refused token is not taken as done
    assert await count(clickhouse) == 1


class Watched(str):
    """A text that tells when nobody holds it any more."""

    __slots__ = ("__weakref__",)


async def test_rows_are_let_go_at_once(clickhouse: ClickHouse) -> None:
    """Not when Python looks for cycles, which a sink that catches up lets it do rarely."""
    first, *others = dict(rows_of(make_log("r-1"), ingested_at=NOON).rows)[REQUESTS][0]
    text = Watched(first)
    watch = weakref.ref(text)
    gc.disable()
    try:
        await clickhouse.insert(REQUESTS.name, REQUESTS.columns, [(text, *others)], token="t")
        del text
        async with asyncio.timeout(30):
            while watch() is not None:  # a thread keeps what it did last, until it gets to do something else
                await clickhouse.execute("SELECT 1")
    finally:
        gc.enable()


async def test_a_missing_table_is_not_the_rows_fault(clickhouse: ClickHouse) -> None:
    """Somebody's mistake, which somebody will undo: giving up on rows would lose them."""
    await insert(clickhouse, [make_log("r-1")], "t-1")
    await clickhouse.execute("RENAME TABLE requests_raw TO elsewhere")
    with pytest.raises(ClickHouseUnavailable, match="requests_raw"):
        await insert(clickhouse, [make_log("r-2")], "t-2")
    await clickhouse.execute("RENAME TABLE elsewhere TO requests_raw")
    await insert(clickhouse, [make_log("r-2")], "t-2")
    assert await count(clickhouse) == 2


async def test_a_server_that_is_away_is_named_without_its_password() -> None:
    """The message goes to logs and to the health page."""
    away = ClickHouse("http://default:secret@127.0.0.1:1", database=None, timeout_s=1)
    with pytest.raises(ClickHouseUnavailable, match=r"127\.0\.0\.1:1") as caught:
        await away.query("SELECT 1")
    assert "secret" not in str(caught.value)
    await away.close()

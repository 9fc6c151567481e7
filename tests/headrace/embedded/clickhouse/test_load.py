"""Concurrency, flat memory, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import clickhouse_connect
import httpx
import psutil
import pytest

from headrace.embedded.clickhouse import EmbeddedClickHouse

pytestmark = pytest.mark.integration

ENDLESS = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"
MIB = 1 << 20
PLAIN = {"Accept-Encoding": "identity"}


def running(http: httpx.Client, query_id: str) -> bool:
    """Whether the engine still works on a query."""
    sql = f"SELECT count() FROM system.processes WHERE Settings['log_comment'] = '{query_id}'"
    return http.post("/", content=sql).text == "1\n"


def stopped(http: httpx.Client, query_id: str) -> bool:
    """Whether the engine has ended a query."""
    return not running(http, query_id)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own timeout bounds it."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.02)


async def test_fast_queries_pass_a_slow_one(server: EmbeddedClickHouse, http: httpx.Client) -> None:
    """Ten connections read and write while a query runs that would never end; then it is killed."""
    async with httpx.AsyncClient(base_url=server.endpoint, timeout=60) as client:
        slow = asyncio.create_task(client.post("/", content=ENDLESS, params={"query_id": "endless"}))

        async def work(name: str) -> int:
            await client.post("/", content=f"CREATE TABLE {name} (a UInt64) ENGINE = MergeTree ORDER BY a")
            for turn in range(20):
                sql = f"INSERT INTO {name} VALUES ({turn})"
                response = await client.post("/", content=sql, params={"max_block_size": str(turn + 1)})
                assert response.status_code == 200
                assert (await client.get("/ping")).text == "Ok.\n"
            return int((await client.post("/", content=f"SELECT sum(a) FROM {name}")).text)

        sums = await asyncio.gather(*(work(f"load_{number}") for number in range(10)))
        assert sums == [190] * 10
        assert not slow.done()
        await client.post("/", content="KILL QUERY WHERE Settings['log_comment'] = 'endless' ASYNC")
        assert (await slow).headers["x-clickhouse-exception-code"] == "394"


def test_a_client_that_leaves_before_the_first_row_ends_its_query(
    http: httpx.Client, server: EmbeddedClickHouse
) -> None:
    """Nobody waits for the result: it is not computed any further."""
    with httpx.Client(base_url=server.endpoint) as leaver, pytest.raises(httpx.ReadTimeout):
        leaver.post("/", content=ENDLESS, params={"query_id": "left-early"}, timeout=1)
    until(partial(stopped, http, "left-early"))


def test_a_client_that_leaves_in_mid_stream_ends_its_query(
    http: httpx.Client, server: EmbeddedClickHouse
) -> None:
    """A query that waits for its reader ends with it."""
    sql = "SELECT number FROM numbers(100000000000)"
    with (
        httpx.Client(base_url=server.endpoint, timeout=60) as leaver,
        leaver.stream("POST", "/", content=sql, params={"query_id": "left-late"}) as response,
    ):
        pieces = response.iter_raw(1000)  # kept: once collected, it would close the response
        assert next(pieces)
        assert running(http, "left-late")
    until(partial(stopped, http, "left-late"))


def test_a_large_result_streams_in_flat_memory(server: EmbeddedClickHouse, http: httpx.Client) -> None:
    """500 MB of rows pass through without the server holding them, in a format with one frame too."""
    assert server.pid is not None
    process = psutil.Process(server.pid)
    http.post("/", content="SELECT number FROM numbers(1000000) FORMAT JSON")
    before = process.memory_info().rss
    sql = "SELECT number, toString(number) AS s, 'some text that takes space' AS t FROM numbers(6000000)"
    size = peak = 0
    with http.stream("POST", "/", content=sql, params={"default_format": "JSON"}, headers=PLAIN) as response:
        for index, chunk in enumerate(response.iter_raw()):
            size += len(chunk)
            if index % 50 == 0:
                peak = max(peak, process.memory_info().rss)
    assert size > 500_000_000
    assert peak - before < 250 * MIB


def test_a_million_rows_through_the_client(server: EmbeddedClickHouse) -> None:
    """The client's own stream of a million rows is complete."""
    with (
        clickhouse_connect.get_client(dsn=server.endpoint) as client,
        client.query_row_block_stream("SELECT number FROM numbers(1500000)") as blocks,
    ):
        assert sum(row[0] for block in blocks for row in block) == 1_500_000 * 1_499_999 // 2


def test_a_large_insert_is_taken_in_flat_memory(
    server: EmbeddedClickHouse, http: httpx.Client, table: str
) -> None:
    """A body of 800 MB waits on disk and is fed in pieces, in blocks of the size that was asked for."""
    assert server.pid is not None
    process = psutil.Process(server.pid)
    http.post("/", content=f"CREATE TABLE {table} (s String) ENGINE = Null")
    before = process.memory_info().rss
    block = b"x" * 99 + b"\n"
    body = (block * 10_000 for _ in range(800))
    params = {"query": f"INSERT INTO {table} FORMAT TSV", "min_insert_block_size_bytes": str(16 * MIB)}
    response = http.post("/", params=params, content=body)
    assert '"written_rows": "8000000"' in response.headers["x-clickhouse-summary"]
    assert process.memory_info().rss - before < 400 * MIB


def test_wait_end_of_query_turns_late_errors_into_a_status(http: httpx.Client) -> None:
    """With wait_end_of_query nothing is sent before the end, so the status tells the truth."""
    sql = "SELECT throwIf(number = 2000000), toString(number) FROM numbers(3000000)"
    response = http.post("/", content=sql, params={"wait_end_of_query": "1"})
    assert response.status_code == 500
    complete = http.post(
        "/", content="SELECT number FROM numbers(1000000)", params={"wait_end_of_query": "1"}
    )
    assert complete.text.count("\n") == 1_000_000


def test_a_late_error_breaks_the_response_off(http: httpx.Client) -> None:
    """Without it, an error after the first megabyte is in the body and the response stays incomplete."""
    sql = "SELECT throwIf(number = 3000000, 'stop'), toString(number) FROM numbers(4000000)"
    received = b""
    with (  # noqa: PT012 - what had come until then is looked at
        pytest.raises(httpx.RemoteProtocolError),
        http.stream("POST", "/", content=sql, headers=PLAIN) as response,
    ):
        tag = response.headers["x-clickhouse-exception-tag"]
        for chunk in response.iter_raw():
            received = (received + chunk)[-2000:]
    assert f"__exception__\r\n{tag}\r\nCode: 395.".encode() in received

"""The analysts' routes on the real engine: the whole catalogue, exact rows, tenants apart, leavers."""

import asyncio
import csv
import io
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow.ipc
import pytest
import uvicorn

from analytics.clickhouse import ClickHouse
from analytics.reports.catalogue import Catalogue
from analytics.reports.query_service import QuerySlots
from analytics.reports.reader import AnalystReader, ReaderLimits
from streams.errors import ClickHouseUnavailable
from streams.serving.protocol import BoundedHttp
from tests.analytics.api.analysts import ACME, ADMIN, GLOBEX, NUMBERS, SLOW, app_of, catalogue_of, client_of
from tests.analytics.api.test_queries import NotedReader
from tests.analytics.logs import make_log
from tests.analytics.reader_url import reader_url
from tests.analytics.stored_logs import database_of

pytestmark = pytest.mark.integration

ROWS = "/v1/analytics/queries/numbers/rows"
LIMITS = ReaderLimits(timeout_s=30, result_rows=100_000, result_bytes=1 << 26, memory_bytes=1 << 30)
#: What has no default in the catalogue's queries.
NEEDED = {"request_id": "acme-1"}


@pytest.fixture(scope="module")
def stored(clickhouse_url: str) -> Iterator[str]:
    """The name of a database with some requests of two tenants."""
    logs = [
        make_log("acme-1", tenant="acme", user_id="ann", cost_usd=Decimal("0.100000001")),
        make_log("acme-2", tenant="acme", user_id="bob", cost_usd=Decimal("0.2")),
        make_log("globex-1", tenant="globex", user_id="cyd", cost_usd=Decimal(5)),
    ]
    with database_of(clickhouse_url, "queries", logs) as name:
        yield name


@pytest.fixture
async def reader(clickhouse_url: str, stored: str) -> AsyncIterator[AnalystReader]:
    """A reader of that database."""
    connected = AnalystReader(reader_url(clickhouse_url, stored), database=stored, limits=LIMITS)
    yield connected
    await connected.close()


def _needed(catalogue: Catalogue, name: str) -> dict[str, str]:
    parameters = catalogue.get(name).parameters
    return {each.name: NEEDED[each.name] for each in parameters if each.default is None}


async def test_the_whole_catalogue_in_every_format(reader: AnalystReader) -> None:
    """Each query runs as the reader, within one tenant, and returns the columns that it documents.

    In CSV it does so below.
    """
    catalogue = Catalogue.load()
    async with client_of(app_of(catalogue, reader)) as client:
        for name in catalogue.names():
            columns = [column.name for column in catalogue.get(name).columns]
            found = {}
            for form in ("json", "arrow"):
                parameters = {**_needed(catalogue, name), "format": form}
                response = await client.get(f"/v1/analytics/queries/{name}/rows", params=parameters)
                assert response.status_code == 200, (name, response.text)
                found[form] = response
            table = pyarrow.ipc.open_stream(found["arrow"].content).read_all()
            rows = msgspec.json.decode(found["json"].content)["rows"]
            assert table.column_names == columns, name
            assert table.num_rows == len(rows), name
            assert all(list(row) == columns for row in rows), name


async def test_no_query_shows_anything_of_another_tenant(reader: AnalystReader) -> None:
    """Neither its name, nor its users, nor its requests, in any answer of the catalogue."""
    catalogue = Catalogue.load()
    async with client_of(app_of(catalogue, reader), GLOBEX) as client:
        for name in catalogue.names():
            response = await client.get(
                f"/v1/analytics/queries/{name}/rows", params={**_needed(catalogue, name), "format": "csv"}
            )
            assert response.status_code == 200, (name, response.text)
            columns = [column.name for column in catalogue.get(name).columns]
            assert next(csv.reader(io.StringIO(response.text))) == columns, name
            body = response.text.partition("\n")[2]
            assert not [word for word in ("acme", "ann", "bob") if word in body.split(",")], name
            assert '"acme' not in body, name


async def test_money_is_exact_and_by_tenant(reader: AnalystReader) -> None:
    """To the nano-dollar, as a number in JSON; the admin sees both tenants, each key its own."""

    async def costs(key: str, **parameters: str) -> dict[str, Decimal]:
        async with client_of(app_of(Catalogue.load(), reader), key) as client:
            response = await client.get("/v1/analytics/queries/cost_by_tenant/rows", params=parameters)
        decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
        return {row["tenant"]: Decimal(row["cost_usd"]) for row in decoder.decode(response.content)["rows"]}

    assert await costs(ACME) == {"acme": Decimal("0.300000001")}
    assert await costs(GLOBEX) == {"globex": Decimal(5)}
    assert await costs(ADMIN) == {"acme": Decimal("0.300000001"), "globex": Decimal(5)}
    assert await costs(ADMIN, tenant="globex") == {"globex": Decimal(5)}


async def test_hostile_values_stay_values(
    reader: AnalystReader, clickhouse_url: str, stored: str, tmp_path: Path
) -> None:
    """They come back as they were sent, and the tables are as they were."""
    catalogue = catalogue_of(tmp_path, numbers=NUMBERS)
    hostile = [
        "'; DROP TABLE requests_raw; --",
        "\\",
        "\\'",
        "{tenant:String}",
        "a\tb\nc",
        "\\N",
        "ü漢🙂",
        "%00",
    ]
    async with client_of(app_of(catalogue, reader)) as client:
        for text in hostile:
            answer = await client.get(ROWS, params={"text": text, "limit": "1"})
            assert answer.status_code == 200, (text, answer.text)
            assert answer.json()["rows"][0]["text"] == text
    clickhouse = ClickHouse(clickhouse_url, database=stored, timeout_s=30)
    assert (await clickhouse.query("SELECT count() AS n FROM requests"))[0]["n"] == 3
    await clickhouse.close()


async def test_a_large_result_comes_in_pieces(reader: AnalystReader, tmp_path: Path) -> None:
    """Every row once, in each format, and more rows than one answer may have are refused whole."""
    catalogue = catalogue_of(tmp_path, numbers=NUMBERS)
    async with serving(app_of(catalogue, reader)) as client:
        query = {"limit": "100000", "text": "x" * 100}
        rows = msgspec.json.decode((await client.get(ROWS, params=query)).content)["rows"]
        assert [row["n"] for row in rows] == list(range(100_000))
        arrow = await client.get(ROWS, params={**query, "format": "arrow"})
        table = pyarrow.ipc.open_stream(arrow.content).read_all()
        assert table.column("n").to_pylist() == list(range(100_000))
        too_many = await client.get(ROWS, params={**query, "limit": "100001"})
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (400, "result_too_large")


async def test_a_client_that_leaves_gives_its_slot_back(reader: AnalystReader, tmp_path: Path) -> None:
    """Its query is cancelled, and the next one runs at once."""
    catalogue = catalogue_of(tmp_path, numbers=NUMBERS, slow=SLOW)
    slots = QuerySlots(running=1)
    async with serving(app_of(catalogue, reader, slots=slots)) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/v1/analytics/queries/slow/rows", timeout=httpx.Timeout(10, read=0.5))
        async with asyncio.timeout(15):
            assert (await client.get(ROWS)).status_code == 200
    assert slots._present == 0


async def test_a_query_that_takes_too_long(clickhouse_url: str, database: str, tmp_path: Path) -> None:
    """The error says what to narrow, and that asking again will not help."""
    limits = msgspec.structs.replace(LIMITS, timeout_s=1)
    reader = AnalystReader(reader_url(clickhouse_url, database), database=database, limits=limits)
    async with client_of(app_of(catalogue_of(tmp_path, slow=SLOW), reader), ADMIN) as client:
        response = await client.get("/v1/analytics/queries/slow/rows")
    await reader.close()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "query_timeout")
    assert response.headers["x-should-retry"] == "false"


async def test_a_result_that_breaks_off_is_seen_to(tmp_path: Path) -> None:
    """The connection ends without the response's end: nobody takes half a result for a whole one."""

    class Breaking(NotedReader):
        rows = 0

        @asynccontextmanager
        async def ask(self, question: Any) -> AsyncIterator[Any]:
            async def pieces() -> AsyncIterator[bytes]:
                yield b'[{"n":0}' + b',{"n":0}' * self.rows
                yield b',{"n":0}'
                raise ClickHouseUnavailable("gone")

            class Answer:
                def pieces(self) -> AsyncIterator[bytes]:
                    return pieces()

            yield Answer()

    reader = Breaking()
    async with serving(app_of(catalogue_of(tmp_path, numbers=NUMBERS), reader)) as client:
        assert (await client.get(ROWS)).status_code == 503  # nothing had been sent yet
        reader.rows = 20_000
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(ROWS)
        assert (await client.get("/v1/analytics/queries")).status_code == 200


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a real server, and a client with a key."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=BoundedHttp, lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        headers = {"Authorization": f"Bearer {ACME}"}
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            await task

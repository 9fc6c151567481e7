"""The application with the analysts' routes, wired as the process does it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from analytics.api.dependencies import Analysts
from analytics.app import create_app
from analytics.reports.catalogue import Catalogue
from analytics.reports.query_service import QueryService, QuerySlots
from analytics.reports.reader import AnalystReader
from analytics.status import SinkStatus
from streams.serving.api_keys import ApiKeys, Caller
from streams.serving.callers import Callers

ADMIN = "k-admin"
ACME = "k-acme"
GLOBEX = "k-globex"
KEYS = {
    ACME: Caller("acme", "unlimited"),
    GLOBEX: Caller("globex", "unlimited"),
    ADMIN: Caller("", "", scopes=("admin",)),
}

#: A query that takes and returns whatever a test wants.
NUMBERS = """\
-- title: Numbers
-- group: traffic
-- description: The first natural numbers.
-- parameter: limit UInt32 1..1000000 = 3 | how many
-- parameter: text String = '' | what goes with them
-- column: n [count] | the number
-- column: text [text] | what was given
-- column: usd [USD] | a nano-dollar each
SELECT number AS n, {text:String} AS text, toDecimal64(number, 9) / toDecimal64(1000000000, 0) AS usd
FROM numbers({limit:UInt32})
WHERE {since:DateTime64(6, 'UTC')} < {until:DateTime64(6, 'UTC')} AND {tenant:String} = {tenant:String}
"""

#: A query that takes many minutes, and no effort.
SLOW = """\
-- title: Slow
-- group: traffic
-- description: Counts, with a rest after each block of rows.
-- column: n [count] | how many
SELECT count() AS n
FROM numbers(100000000)
WHERE sleep(0.5) = 0
    AND {since:DateTime64(6, 'UTC')} < {until:DateTime64(6, 'UTC')} AND {tenant:String} = {tenant:String}
"""


async def pong() -> None:
    """A ClickHouse that answers."""


def catalogue_of(folder: Path, **queries: str) -> Catalogue:
    """A catalogue of a test's own."""
    for name, text in queries.items():
        (folder / f"{name}.sql").write_text(text, "utf-8")
    return Catalogue.load(folder)


def app_of(
    catalogue: Catalogue,
    reader: AnalystReader | None = None,
    *,
    slots: QuerySlots | None = None,
    **fields: object,
) -> FastAPI:
    """The application."""
    service = QueryService(catalogue, reader, slots or QuerySlots(running=4))
    analysts = Analysts(service=service, callers=Callers(ApiKeys(KEYS)))
    return create_app(SinkStatus(), pong, analysts, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def client_of(app: FastAPI, key: str | None = ACME) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://analytics", headers=headers) as client:
        yield client

"""Asks every query of the catalogue as the API does, and takes the time.

Those of the page are asked over the page's default range, a day, and over a week like all others.
"""

import math
import statistics
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from analytics.reports.catalogue import Catalogue
from analytics.reports.query import JSON, Query, instant
from analytics.reports.reader import AnalystReader, ReaderQuery

_WARM_UPS = 2
#: What a query of the page may take at the 95th percentile, and any other one.
PAGE_LIMIT_MS = 300.0
LIMIT_MS = 1000.0


#: The range of the page when it is opened (`analytics/web/address.js`).
_PAGE_RANGE = "24h"


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long a query took over a range, in milliseconds, and the size of its answer."""

    query: str
    since: str
    p50_ms: float
    p95_ms: float
    answer_bytes: int

    @property
    def limit_ms(self) -> float:
        """What its p95 is to stay below."""
        return PAGE_LIMIT_MS if self.since == _PAGE_RANGE else LIMIT_MS

    @property
    def slow(self) -> bool:
        """Whether it is not."""
        return self.p95_ms >= self.limit_ms


def chosen(catalogue: Catalogue, names: Sequence[str]) -> list[Query]:
    """Return the queries of these names or beginnings of names; all where there is none."""
    return [query for query in catalogue if not names or query.name.startswith(tuple(names))]


def ranges(query: Query) -> list[str]:
    """Return the ranges over which a query is asked: its own default, and before it the page's."""
    own = next(parameter.default for parameter in query.parameters if parameter.name == "since")
    return [_PAGE_RANGE, str(own)] if _from_rollups(query) else [str(own)]


def _from_rollups(query: Query) -> bool:
    """Whether it may be asked as the page does."""
    return any(parameter.name == "source" for parameter in query.parameters)


async def timed(
    reader: AnalystReader,
    query: Query,
    *,
    since: str,
    until: datetime,
    request_id: str,
    tenant: str,
    runs: int,
) -> Timing:
    """Ask a query again and again, as if `until` were now.

    Args:
        reader: asks ClickHouse.
        query: what is asked.
        since: the age of the oldest rows.
        until: the end of the data.
        request_id: for the queries about one request.
        tenant: whose rows; empty for everybody's.
        runs: how often, after two warm-ups.
    """
    question = _question(query, since=since, until=until, request_id=request_id, tenant=tenant)
    took: list[float] = []
    size = 0
    for _ in range(_WARM_UPS + runs):
        began = time.perf_counter()
        async with reader.ask(question) as answer:
            size = sum([len(piece) async for piece in answer.pieces()])
        took.append((time.perf_counter() - began) * 1000)
    took = sorted(took[_WARM_UPS:])
    return Timing(
        query=query.name,
        since=since,
        p50_ms=statistics.median(took),
        p95_ms=took[math.ceil(0.95 * len(took)) - 1],
        answer_bytes=size,
    )


def _question(query: Query, *, since: str, until: datetime, request_id: str, tenant: str) -> ReaderQuery:
    given: dict[str, Any] = {"tenant": tenant, "since": instant(since, until), "until": until}
    for parameter in query.parameters:
        if parameter.name == "request_id":
            given[parameter.name] = request_id
        elif parameter.name == "source":
            given[parameter.name] = "rollups"
    bound = query.bind(given, now=until)
    return ReaderQuery(sql=bound.sql, parameters=bound.parameters, tenant=tenant, output=JSON)

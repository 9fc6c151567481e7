"""The data: requests of 30 days, made inside ClickHouse and the same each time.

`sql/requests.sql` makes a request of its number alone; stages, calls and scores are made of the stored
requests. Days are inserted one by one, and 1 % of each comes again afterwards.
"""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from analytics.clickhouse import ClickHouse
from streams.model_catalogue import MODELS, PRICE_VERSION

DAYS = 30
#: Requests are numbered in the order of time: a chunk of a 120th of them is about six hours.
_CHUNKS = 120
_DAILY = ("stages_raw", "llm_calls_raw")
_MONTHLY = ("requests_raw", "scores_raw")
RAW = (*_MONTHLY, *_DAILY)
_DETAILS = ("stages", "llm_calls", "scores")
_CHAT_MODELS = [model for name, model in MODELS.items() if name != "claude-3-opus"][:4]


class DataSet(msgspec.Struct, frozen=True, kw_only=True):
    """What a data folder holds.

    Attributes:
        requests: how many different ones.
        until: the end of the 30 days in which they were accepted.
        inserted: rows inserted by `INSERT … SELECT`, by table, and the seconds that took.
    """

    requests: int
    until: datetime
    inserted: Mapping[str, tuple[int, float]]

    @property
    def since(self) -> datetime:
        """The beginning of the 30 days."""
        return self.until - timedelta(days=DAYS)


def default_until() -> datetime:
    """Return half past three yesterday afternoon (UTC): the window's bounds are no hour's and no day's."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return yesterday.replace(hour=15, minute=30, second=0, microsecond=0)


def kept(folder: Path) -> DataSet | None:
    """Return what is in a data folder, or None where it is not filled."""
    try:
        return msgspec.json.decode((folder / "scale.json").read_bytes(), type=DataSet)
    except FileNotFoundError:
        return None


async def fill(clickhouse: ClickHouse, folder: Path, *, requests: int, until: datetime) -> DataSet:
    """Fill the empty tables and note it in the folder."""
    inserted: dict[str, tuple[int, float]] = {}
    for number in range(_CHUNKS):
        first, last = requests * number // _CHUNKS, requests * (number + 1) // _CHUNKS
        values = {"first": first, "count": last - first, "total": requests, "end": until}
        await _timed(clickhouse, inserted, "requests", {**values, **_prices()})
    for since, before in _days(until):
        values = {
            "since": since,
            "until": before,
            "models": _prices()["models"],
            "price_version": PRICE_VERSION,
        }
        for name in _DETAILS:
            await _timed(clickhouse, inserted, name, values)
        print(f"  {since:%Y-%m-%d}", flush=True)
    await _settle(clickhouse, until)
    data = DataSet(requests=requests, until=until, inserted=inserted)
    (folder / "scale.json").write_bytes(msgspec.json.format(msgspec.json.encode(data), indent=2))
    return data


async def _settle(clickhouse: ClickHouse, until: datetime) -> None:
    """Let 1 % of the rows come again, and merge what a server has merged after some time.

    Closed days of daily partitions are merged an hour after their last row (migration 0014). A month is one
    large part and small ones, which the repeats of each day are here.
    """
    for table in _DAILY:
        await _again(clickhouse, table, until)
        for since, _ in _days(until):
            if since.date() < until.date():
                await clickhouse.execute(f"OPTIMIZE TABLE {table} PARTITION ID '{since:%Y%m%d}' FINAL")
    for table in _MONTHLY:
        await clickhouse.execute(f"OPTIMIZE TABLE {table} FINAL")
        await _again(clickhouse, table, until)


async def _again(clickhouse: ClickHouse, table: str, until: datetime) -> None:
    for since, before in _days(until):
        values = {"table": table, "since": text_of(since), "until": text_of(before)}
        await clickhouse.execute(sql_of("again"), values)


async def _timed(
    clickhouse: ClickHouse, inserted: dict[str, tuple[int, float]], name: str, values: Mapping[str, Any]
) -> None:
    table = f"{name}_raw"
    before, began = await stored_rows(clickhouse, table), time.monotonic()
    used = {key: text_of(value) if isinstance(value, datetime) else value for key, value in values.items()}
    await clickhouse.execute(sql_of(name), used)
    took_s = time.monotonic() - began
    rows, seconds = inserted.get(table, (0, 0.0))
    inserted[table] = (rows + await stored_rows(clickhouse, table) - before, seconds + took_s)


async def stored_rows(clickhouse: ClickHouse, table: str) -> int:
    """Return how many rows a table holds, repeats too."""
    [row] = await clickhouse.query(
        "SELECT sum(rows) AS n FROM system.parts "
        "WHERE active AND database = currentDatabase() AND table = {t:String}",
        {"t": table},
    )
    return int(row["n"])


def _days(until: datetime) -> Iterator[tuple[datetime, datetime]]:
    at = until - timedelta(days=DAYS)
    while at < until:
        following = min(at.replace(hour=0, minute=0) + timedelta(days=1), until)
        yield at, following
        at = following


def _prices() -> dict[str, Any]:
    def nano(price: Any) -> int:
        return int(price * 1000)  # dollars per million tokens are microdollars a token

    return {
        "models": [model.name for model in _CHAT_MODELS],
        "input_nano_usd": [nano(model.price.input_usd) for model in _CHAT_MODELS],
        "cached_nano_usd": [nano(model.price.cached_input_usd) for model in _CHAT_MODELS],
        "output_nano_usd": [nano(model.price.output_usd) for model in _CHAT_MODELS],
        "price_version": PRICE_VERSION,
    }


def text_of(at: datetime) -> str:
    """Write an instant as the parameters take it: the client library cuts a datetime to whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def sql_of(name: str) -> str:
    """Return one of the statements in `sql/`."""
    return (files("bench.analytics_scale") / "sql" / f"{name}.sql").read_text("utf-8")

"""How fast every query of the catalogue answers on 10^7 requests and 5 x 10^7 stage rows.

Fills the embedded ClickHouse in a data folder (unless the folder is filled already), lets the newest requests
come again in many small parts that nothing merges, brings the rollups up to date by the real job, and asks
every query over its default range through the API's reader. The exit status is 1 where a figure is not exact,
a query takes a second or more at the 95th percentile, or one of the page 300 ms.

    .venv/bin/python -m bench.analytics_scale --data-dir /tmp/scale-data
    .venv/bin/python -m bench.analytics_scale --data-dir /tmp/scale-data --only cost_ traffic_ --no-inserts
"""

import argparse
import asyncio
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from analytics.clickhouse import ClickHouse
from analytics.reports.catalogue import Catalogue
from analytics.reports.reader import AnalystReader, ReaderLimits
from analytics.schema.migrate import SchemaRunner, create_database, load_migrations
from bench.analytics_scale.asking import chosen, ranges, timed
from bench.analytics_scale.data import RAW, DataSet, default_until, fill, kept, sql_of, text_of
from bench.analytics_scale.inserting import insert_rate
from bench.analytics_scale.report import Report, Stored, shown
from bench.analytics_scale.rollups import refreshed
from headrace.embedded.clickhouse import EmbeddedClickHouse
from streams.settings import Settings

_DATABASE = "headrace"
_READER_PASSWORD = "read-only"  # noqa: S105  # of a server that ends with the measurement
_MINUTES_AGAIN = 30
_SIZES = """
SELECT
    p.table AS name,
    sum(p.rows) AS stored_rows,
    sum(p.bytes_on_disk) AS stored_bytes,
    count() AS parts
FROM system.parts AS p
WHERE p.active AND p.database = currentDatabase() AND p.rows > 0
    AND (endsWith(p.table, '_raw') OR startsWith(p.table, 'rollup_'))
GROUP BY name
ORDER BY stored_bytes DESC
"""


async def _run(part: EmbeddedClickHouse, options: argparse.Namespace) -> Report:
    server = ClickHouse(part.endpoint, database=None, timeout_s=600)
    await create_database(server, _DATABASE)
    await server.close()
    clickhouse = ClickHouse(part.endpoint, database=_DATABASE, timeout_s=600)
    await SchemaRunner(clickhouse, load_migrations()).apply()
    data = kept(options.data_dir) or await fill(
        clickhouse, options.data_dir, requests=options.requests, until=options.until or default_until()
    )
    inserts = None
    if not options.no_inserts:
        inserts = await insert_rate(part.endpoint, requests=options.insert_requests, until=data.until)
    await _deliver_newest_again(clickhouse, data)
    rollups = None if options.no_rollups else await refreshed(clickhouse, until=data.until)
    report = Report(
        machine=f"{platform.machine()}, {os.cpu_count()} CPUs, chDB {version('chdb')}",
        at=datetime.now(UTC),
        data=data,
        stored=[Stored(**row) for row in await clickhouse.query(_SIZES)],
        wrong=await _missing(clickhouse, data),
        inserts=inserts,
        rollups=rollups,
        timings=await _timings(clickhouse, part, data, options),
    )
    await clickhouse.close()
    return report


async def _deliver_newest_again(clickhouse: ClickHouse, data: DataSet) -> None:
    """Give today's partitions parts that overlap, and keep them apart for as long as this server runs."""
    for table in RAW:
        await clickhouse.execute(f"SYSTEM STOP MERGES {table}")
        for minute in range(_MINUTES_AGAIN):
            values = {"table": table, "end": text_of(data.until), "minute": minute}
            await clickhouse.execute(sql_of("newest"), values)


async def _missing(clickhouse: ClickHouse, data: DataSet) -> list[str]:
    """Return what is not there exactly once."""
    [row] = await clickhouse.query(
        "SELECT (SELECT count() FROM requests) AS requests, (SELECT count() FROM stages) AS stages, "
        "(SELECT sum(cost_usd) FROM requests) AS cost, "
        "(SELECT sumIf(cost_usd, NOT shadow) FROM llm_calls) AS calls_cost "
        "SETTINGS do_not_merge_across_partitions_select_final = 1"
    )
    faults = []
    if row["requests"] != data.requests or row["stages"] != 5 * data.requests:
        faults.append(f"{row['requests']} requests, {row['stages']} stage rows of {data.requests} requests")
    if row["cost"] != row["calls_cost"]:
        faults.append(f"the requests cost {row['cost']}, their calls {row['calls_cost']}")
    return faults


async def _timings(
    clickhouse: ClickHouse, part: EmbeddedClickHouse, data: DataSet, options: argparse.Namespace
) -> list[Any]:
    [row] = await clickhouse.query(
        "SELECT request_id FROM requests_raw WHERE fallback AND accepted_at >= {since:DateTime64(6, 'UTC')} "
        "ORDER BY accepted_at LIMIT 1",
        {"since": text_of(data.since + (data.until - data.since) / 2)},
    )
    reader = _reader(f"http://reader:{_READER_PASSWORD}@127.0.0.1:{part.port}")
    try:
        found = []
        asked = [
            (query, since) for query in chosen(Catalogue.load(), options.only) for since in ranges(query)
        ]
        for query, since in asked:
            found.append(
                await timed(
                    reader,
                    query,
                    since=since,
                    until=data.until,
                    request_id=row["request_id"],
                    tenant=options.tenant,
                    runs=options.runs,
                )
            )
            print(f"  {query.name}, {since}: {found[-1].p95_ms:.0f} ms", flush=True)
        return found
    finally:
        await reader.close()


def _reader(endpoint: str) -> AnalystReader:
    """Return the API's reader, with the limits that it has by default."""
    default = {name: field.default for name, field in Settings.model_fields.items()}
    limits = ReaderLimits(
        timeout_s=default["analyst_timeout_s"],
        result_rows=default["analyst_result_rows"],
        result_bytes=default["analyst_result_bytes"],
        memory_bytes=default["analyst_memory_bytes"],
    )
    return AnalystReader(endpoint, database=_DATABASE, limits=limits)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.analytics_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder of the data; kept, and used again"
    )
    parser.add_argument("--requests", type=int, default=10_000_000, help="for a new folder (default: 10^7)")
    parser.add_argument(
        "--until",
        type=lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
        help="for a new folder: the end of the 30 days (UTC; default: half past three yesterday afternoon)",
    )
    parser.add_argument("--runs", type=int, default=15, help="of each query, after two warm-ups")
    parser.add_argument("--only", nargs="*", default=[], help="queries, or what their names begin with")
    parser.add_argument("--tenant", default="", help="ask for this tenant, as its key does (tenant-19)")
    parser.add_argument(
        "--insert-requests", type=int, default=143_000, help="7 rows each (default: 10^6 rows)"
    )
    parser.add_argument("--no-inserts", action="store_true", help="do not measure inserts")
    parser.add_argument("--no-rollups", action="store_true", help="do not measure nor check the rollups")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser.parse_args()


def main() -> int:
    """Measure, print, and return 1 where something is wrong or slow."""
    options = _options()
    options.data_dir.mkdir(parents=True, exist_ok=True)
    part = EmbeddedClickHouse(options.data_dir, reader_password=_READER_PASSWORD)
    part.start()
    try:
        report = asyncio.run(_run(part, options))
    finally:
        part.stop()
    print(shown(report))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())

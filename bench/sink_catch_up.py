"""How fast the sink catches up with a backlog, what that costs, and what limits more.

Starts Kafka and ClickHouse of its own in a temporary folder, fills `llm.logs.v1` with generated log records
(five stages, one or two calls, with the texts unless told otherwise), and then starts the real
`headrace analytics`: with the rollups, the erasure feed, the watcher and the HTTP API, as in production. The
exit status is 1 where a sum of a view or a rollup differs from Python's, or the rate is below the target.

    .venv/bin/python -m bench.sink_catch_up [--records 400000] [--text-share 1] [--min-rate 8000]
"""

import argparse
import asyncio
import platform
import sys
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from bench.sink_books import ROLLUPS, VIEWS, Books, compare, in_time
from bench.sink_logs import LogFactory, Shape, days_before
from bench.sink_stand import PARTITIONS, Stand, Usage, stand
from streams.codec import encode, event_headers
from streams.topics import LOGS

_POLL_S = 0.25
_ROLLUP_LIMIT_S = 90.0
_SENDS_AHEAD = 64
#: The cost stage sends each log record by itself; under load its producer packs some into one batch.
_PACKED = 8


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What was put into the topic."""

    books: Books
    records: int
    bytes: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        began_s: from the start of the process to its first stored batch.
        took_s: from the start of the process until nothing was left.
        rows: that were inserted.
        behind: how far behind the sink said it was, at the worst: records, and seconds.
        cpu_s: by process.
        most_mib: by process.
    """

    began_s: float
    took_s: float
    records: int
    rows: int
    behind: tuple[int, float]
    cpu_s: dict[str, float]
    most_mib: dict[str, float]


def main() -> int:
    """Run the benchmark, print its figures and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--text-share", type=float, default=1.0, help="requests whose texts are stored")
    parser.add_argument("--min-rate", type=float, default=8_000, help="records a second, or it is a failure")
    parser.add_argument("--limit-s", type=float, default=240.0, help="give up catching up after so long")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, stand(Path(folder)) as parts:
        return asyncio.run(measure(parts, options))


async def measure(parts: Stand, options: argparse.Namespace) -> int:
    """Fill the topic, let the sink catch up, print the figures, check the books."""
    shape = Shape(
        seed=options.seed,
        begin=days_before(1),
        span=timedelta(hours=6),
        expected=options.records,
        text_share=options.text_share,
    )
    backlog = await fill(parts, LogFactory(shape), options.records)
    run = await catch_up(parts, backlog.records, options.limit_s)
    if not run.records:
        print(f"FAIL nothing was stored in {run.took_s:.0f} s; analytics said:\n{parts.analytics.log_tail()}")
        return 1
    report(backlog, run)
    return await verdict(parts, backlog, run, options.min_rate)


async def fill(parts: Stand, factory: LogFactory, count: int) -> Backlog:
    """Put so many records into the topic, in small batches as the cost stage writes them."""
    books, size, began = Books(), 0, time.monotonic()
    async with parts.producing() as producer:
        waiting: list[asyncio.Future[Any]] = []
        for number in range(0, count, _PACKED):
            batch = producer.create_batch()
            for log in (factory.next() for _ in range(min(_PACKED, count - number))):
                books.add(log)
                value = encode(log)
                size += len(value)
                headers = event_headers(log, event_id=f"{log.request_id}:log", source="headrace/cost")
                batch.append(key=log.request_id.encode(), value=value, timestamp=None, headers=headers)
            batch.close()
            place = (number // _PACKED) % PARTITIONS
            waiting.append(await producer.send_batch(batch, LOGS.name, partition=place))
            if len(waiting) > _SENDS_AHEAD:
                await waiting.pop(0)
        await asyncio.gather(*waiting)
    print(
        f"{count} records of {size / count:.0f} bytes written in {time.monotonic() - began:.0f} s", flush=True
    )
    return Backlog(books=books, records=count, bytes=size)


async def catch_up(parts: Stand, count: int, limit_s: float) -> Run:
    """Start analytics, and return when it has stored everything, or the time is over."""
    began = time.monotonic()
    pid = await asyncio.to_thread(parts.start)
    usage = Usage({**parts.pids, "analytics": pid})
    sampling = asyncio.create_task(usage.run())
    first_s, behind, sink = 0.0, (0, 0.0), dict[str, Any]()
    while (now_s := time.monotonic() - began) < limit_s and sink.get("records", 0) < count:
        await asyncio.sleep(_POLL_S)
        sink = (await asyncio.to_thread(parts.health)).get("sink", sink)
        if sink.get("records") and not first_s:
            first_s = now_s
        behind = max(behind[0], sink.get("lag_records", 0)), max(behind[1], sink.get("behind_s", 0.0))
    took_s = time.monotonic() - began
    sampling.cancel()
    with suppress(asyncio.CancelledError):
        await sampling
    return Run(
        began_s=first_s,
        took_s=took_s,
        records=sink.get("records", 0),
        rows=sink.get("rows", 0),
        behind=behind,
        cpu_s=usage.cpu_s(),
        most_mib=usage.most_mib,
    )


def report(backlog: Backlog, run: Run) -> None:
    """Print what was measured."""
    caught_up_s = run.took_s - run.began_s
    each = backlog.bytes / backlog.records
    print(f"{platform.machine()}, Python {platform.python_version()}, {each:.0f} bytes a record")
    print(
        f"{run.records} records, {run.rows} rows in {run.took_s:.1f} s from the process's start; the first "
        f"batch was stored after {run.began_s:.1f} s"
    )
    print(
        f"{run.records / run.took_s:.0f} records/s, {run.rows / run.took_s:.0f} rows/s; without the start "
        f"{run.records / caught_up_s:.0f} records/s, {run.rows / caught_up_s:.0f} rows/s"
    )
    print(f"at the worst {run.behind[0]} records and {run.behind[1]:.0f} s behind, as the sink says")
    print(f"{'':12}{'CPU, µs a record':>20}{'CPU, s':>10}{'most MiB':>10}")
    for role, cpu_s in run.cpu_s.items():
        print(f"{role:12}{1e6 * cpu_s / run.records:20.0f}{cpu_s:10.1f}{run.most_mib[role]:10.0f}")
    total_s = sum(run.cpu_s.values())
    print(f"{'all':12}{1e6 * total_s / run.records:20.0f}{total_s:10.1f}", flush=True)


async def verdict(parts: Stand, backlog: Backlog, run: Run, min_rate: float) -> int:
    """Compare the books, print what was found, return the exit status."""
    rate = run.records / run.took_s
    async with parts.connected() as clickhouse:
        wrong = await compare(clickhouse, backlog.books, VIEWS)
        began = time.monotonic()
        late = await in_time(clickhouse, backlog.books, ROLLUPS, limit_s=_ROLLUP_LIMIT_S)
        rollups_s = time.monotonic() - began
    checks = {
        f"{rate:.0f} records/s, wanted {min_rate:.0f}": rate >= min_rate,
        f"all sums of the views as Python's {wrong or ''}": not wrong,
        f"all sums of the rollups too, {rollups_s:.0f} s after the last record {late or ''}": not late,
    }
    for what, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {what}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

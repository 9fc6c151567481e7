"""kill -9 of the sink again and again under load: every sum exact, every offset accounted for.

Starts Kafka and ClickHouse of its own in a temporary folder and writes generated log records at a steady
rate: over several days, some late, some delivered again (alone, and as shuffled stretches: in other batches
than before), some bad. Meanwhile the real `headrace analytics`, with rollups and alerts, is killed at random
moments and started again at once. Afterwards, with the last one still running and no `OPTIMIZE`:

- every view and every rollup gives the same sums as Python, by day and tenant, to the last digit;
- the dead letters are the bad records, each at least once (a kill between a dead letter and the commit of its
  batch makes it come again) and nothing else;
- the group's whole history of commits, from Kafka's own topic, has no gap: each batch begins where the last
  one ended, and one that a kill has cut off was repeated with the very same bounds.

The exit status is 0 only if all of that holds.

    .venv/bin/python -m bench.sink_kills [--kills 50] [--rate 2000] [--seed 7]
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
from aiokafka import TopicPartition

from bench.sink_books import ROLLUPS, VIEWS, compare, in_time
from bench.sink_commits import commits_of, faults_in, records_of
from bench.sink_load import Load, Place
from bench.sink_stand import Stand, stand
from streams.codec import header
from streams.kafka.inspector import KafkaInspector
from streams.pipeline import SINK
from streams.topics import DEAD_LETTERS, LOGS

_EARLY_SHARE = 0.15  # of the kills: at any moment of the start
_EARLY_S = (0.3, 4.0)
_WORKING_S = (0.0, 3.0)  # the other kills: so long after something was stored
_LIFE_LIMIT_S = 45.0
_POLL_S = 0.1
_COMMIT_LIMIT_S = 90.0
_ROLLUP_LIMIT_S = 150.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is done.

    Attributes:
        kills: how many.
        rate: new and repeated records a second.
        seed: of the records and of the moments of the kills.
        limit_s: no kill after so long; where it cuts the number short, that is a failure.
    """

    kills: int = 50
    rate: int = 2_000
    seed: int = 7
    limit_s: float = 350.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        kills: that were done.
        early: of them, before the process had stored anything.
        requests: that were sent at least once; `records` with the repeats and the bad ones.
        repeats: batches that were announced again after a kill.
        raw_rows: of requests, before deduplication.
        bad: records; `letters` are the dead letters, repeats included.
        wrong: what must not be, by what it is about; empty where everything holds.
    """

    kills: int
    early: int
    requests: int
    records: int
    repeats: int
    raw_rows: int
    bad: int
    letters: int
    took_s: float
    wrong: Mapping[str, list[str]]


def main() -> int:
    """Run it, print what was found and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Options()
    parser.add_argument("--kills", type=int, default=defaults.kills)
    parser.add_argument("--rate", type=int, default=defaults.rate, help="records a second")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--limit-s", type=float, default=defaults.limit_s, help="for all the kills")
    options = msgspec.convert(vars(parser.parse_args()), Options)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, stand(Path(folder)) as parts:
        verdict = asyncio.run(run(parts, options))
    print(lines(verdict), flush=True)
    return 1 if verdict.wrong else 0


async def run(parts: Stand, options: Options) -> Verdict:
    """Kill under load, and look at what is left."""
    began, over = time.monotonic(), asyncio.Event()
    async with parts.producing() as producer:
        load = Load(producer, rate=options.rate, seed=options.seed, seconds=options.limit_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(over))
            try:
                kills, early = await kill_again_and_again(parts, options)
            finally:
                over.set()
    say(began, f"{load.records} records sent")
    wrong: dict[str, list[str]] = {}
    if kills < options.kills:
        wrong["kills"] = [f"{kills} instead of {options.kills} in {options.limit_s:g} s: give it --limit-s"]
    committed = await settled(parts, load.ends)
    if committed != load.ends:
        wrong["offsets"] = [f"{committed} committed, and the topic ends at {load.ends}"]
    say(began, "everything is committed")
    async with parts.connected() as clickhouse:
        wrong |= await compare(clickhouse, load.books, VIEWS)
        wrong |= await in_time(clickhouse, load.books, ROLLUPS, limit_s=_ROLLUP_LIMIT_S)
        say(began, "the rollups were looked at")
        [raw] = await clickhouse.query("SELECT count() AS n FROM requests_raw")
    letters = await dead_letters(parts.bootstrap)
    if letters.keys() != load.bad:
        wrong["dead letters"] = [
            f"missing {load.bad - letters.keys()}, unexpected {letters.keys() - load.bad}"
        ]
    await asyncio.to_thread(parts.analytics.stop, 20.0)
    history = await commits_of(parts.bootstrap, group=SINK.group, topic=LOGS.name)
    repeats, faults = faults_in(history, load.ends)
    if faults:
        wrong["commits"] = faults[:5]
    return Verdict(
        kills=kills,
        early=early,
        requests=load.books.count("requests"),
        records=load.records,
        repeats=repeats,
        raw_rows=raw["n"],
        bad=len(load.bad),
        letters=letters.total(),
        took_s=time.monotonic() - began,
        wrong=wrong,
    )


async def kill_again_and_again(parts: Stand, options: Options) -> tuple[int, int]:
    """Return how many kills were done, and how many of them before anything was stored."""
    chance, deadline = random.Random(options.seed), time.monotonic() + options.limit_s
    kills = early = 0
    await asyncio.to_thread(parts.start)
    while kills < options.kills and time.monotonic() < deadline:
        if chance.random() < _EARLY_SHARE:
            await asyncio.sleep(chance.uniform(*_EARLY_S))
        else:
            await storing(parts)
            await asyncio.sleep(chance.uniform(*_WORKING_S))
        early += not (await asyncio.to_thread(parts.health)).get("sink", {}).get("records")
        await asyncio.to_thread(parts.kill)
        kills += 1
        if kills % 10 == 0:
            print(f"{kills} kills", flush=True)
        await asyncio.to_thread(parts.start)
    return kills, early


async def storing(parts: Stand) -> None:
    """Return when the process has stored something, or takes too long."""
    deadline = time.monotonic() + _LIFE_LIMIT_S
    while time.monotonic() < deadline:
        if (await asyncio.to_thread(parts.health)).get("sink", {}).get("records"):
            return
        await asyncio.sleep(_POLL_S)


async def settled(parts: Stand, ends: dict[int, int]) -> dict[int, int]:
    """Return what is committed, once that is everything, or the time is over."""
    offsets = KafkaInspector(parts.bootstrap, client_id="test", timeout_s=15)
    deadline = time.monotonic() + _COMMIT_LIMIT_S
    committed: dict[int, int] = {}
    try:
        while committed != ends and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            places = [TopicPartition(LOGS.name, number) for number in ends]
            found = await offsets.commits(SINK.group, places)
            committed = {place.partition: commit.offset for place, commit in found.items()}
    finally:
        await offsets.close()
    return committed


async def dead_letters(bootstrap: str) -> Counter[Place]:
    """Return how often each record of the log topic is in the dead letters."""
    found: Counter[Place] = Counter()
    async for letter in records_of(bootstrap, DEAD_LETTERS.name):
        partition = header(letter.headers, "__streams.errors.partition")
        offset = header(letter.headers, "__streams.errors.offset")
        found[int(partition or b"-1"), int(offset or b"-1")] += 1
    return found


def say(began: float, what: str) -> None:
    """Print how far it is."""
    print(f"{time.monotonic() - began:6.0f} s  {what}", flush=True)


def lines(verdict: Verdict) -> str:
    """Return what was found, in words."""
    told = [
        f"{verdict.kills} kills in {verdict.took_s:.0f} s, {verdict.early} before anything was stored",
        f"{verdict.records} records of {verdict.requests} requests; {verdict.raw_rows} raw rows of requests",
        f"{verdict.repeats} batches were cut off between their announcement and their commit, and repeated",
        f"{verdict.bad} bad records, {verdict.letters} dead letters",
    ]
    told += [f"FAIL {what}: {'; '.join(found)}" for what, found in verdict.wrong.items()]
    return "\n".join(told if verdict.wrong else [*told, "ok   everything exact"])


if __name__ == "__main__":
    sys.exit(main())

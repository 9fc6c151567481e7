"""The state of the system before and after an attack, and what of it must not have changed."""

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import psutil

from analytics.lags import read_lags
from bench.abuse.forged import MARK
from bench.abuse.receiver import Receiver
from bench.abuse.witness import ENDS, TENANT, USER, Witness
from headrace.up.home import Home
from streams.kafka.inspector import KafkaInspector

_NO_SUCH_TABLE = 404
_MIB = 1024 * 1024
_TABLES = "SELECT name FROM system.tables WHERE database = 'headrace' AND engine LIKE '%MergeTree'"
_COMMAND_TIMEOUT_S = 180.0
_HTTP_TIMEOUT_S = 30.0


class Process(msgspec.Struct, frozen=True):
    """One process as it stands."""

    pid: int | None
    restarts: int
    state: str
    rss_mib: int


def processes(home: Home) -> dict[str, Process]:
    """Return the processes by role."""
    return {
        each.role: Process(each.pid, each.restarts, each.state, _rss_mib(each.pid))
        for each in home.status().processes
    }


def changes(
    before: dict[str, Process], after: dict[str, Process], *, growth_mib: dict[str, int] | int
) -> list[str]:
    """Return what has ended, begun anew or grown by more than so many MiB."""
    found = []
    for role, was in before.items():
        now = after[role]
        bound = growth_mib if isinstance(growth_mib, int) else growth_mib.get(role, growth_mib["*"])
        if (now.pid, now.restarts, now.state) != (was.pid, was.restarts, was.state):
            found.append(f"{role} did not stay: {was} became {now}")
        elif now.rss_mib - was.rss_mib > bound:
            found.append(f"{role} grew from {was.rss_mib} to {now.rss_mib} MiB")
    return found


async def closing_faults(
    home: Home,
    before: dict[str, Process],
    witness: Witness,
    receiver: Receiver,
    *,
    growth_mib: int,
    timeout_s: float,
) -> tuple[list[str], dict[str, Process]]:
    """Wait until the system is at rest and return what did not hold, and its processes as they are then.

    Args:
        home: of the running system.
        before: its processes before the attack.
        witness: asked beside the attack.
        receiver: of the witness's webhooks.
        growth_mib: by how much a process may grow.
        timeout_s: how long each part of the rest is waited for.
    """
    kafka = home.endpoints().kafka
    faults = await stuck(kafka, timeout_s=timeout_s)
    await witness.round()
    await witness.all_replied(timeout_s)
    await witness.look_again()
    await receiver.wait_for(len(witness.webhooks), timeout_s=timeout_s)
    faults += await stuck(kafka, timeout_s=timeout_s)
    after = processes(home)
    faults += witness.faults + receiver.faults(witness.webhooks)
    faults += changes(before, after, growth_mib=growth_mib)
    faults += await asyncio.to_thread(unhealthy, home)
    faults += await asyncio.to_thread(unbalanced, home)
    return faults, after


async def stuck(kafka: str, *, timeout_s: float) -> list[str]:
    """Return the groups that have not finished their topics by then."""
    deadline = time.monotonic() + timeout_s
    questions = KafkaInspector(kafka, client_id="abuse", timeout_s=_HTTP_TIMEOUT_S)
    try:
        while True:
            behind = [each for each in await read_lags(questions, now=datetime.now(UTC)) if each.lag]
            if not behind or time.monotonic() > deadline:
                return [f"{each.group} is {each.lag} records behind on {each.topic}" for each in behind]
    finally:
        await questions.close()


def unhealthy(home: Home) -> list[str]:
    """Return which of the processes do not say that all is well."""
    endpoints, found = home.endpoints(), []
    for name, address in (("ingest", endpoints.ingest), ("analytics", endpoints.analytics)):
        health = httpx.get(f"{address}/health", timeout=_HTTP_TIMEOUT_S)
        ready = httpx.get(f"{address}/ready", timeout=_HTTP_TIMEOUT_S)
        if health.json().get("status") not in ("healthy", "ok") or ready.status_code != 200:
            found.append(f"{name} is {health.text[:500]}, ready: {ready.status_code}")
    return found


def unbalanced(home: Home, *, wait_s: int = 60) -> list[str]:
    """Return what `headrace audit` does not find in order."""
    result = subprocess.run(
        [sys.executable, "-m", "headrace", "audit", "--json", "--wait", str(wait_s), "--data-dir", home.path],
        env={name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")},
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_S,
        check=False,
    )
    if result.returncode == 0:
        return []
    try:
        report = json.loads(result.stdout)
    except json.JSONDecodeError:
        return [f"headrace audit: {result.returncode} {result.stderr[-1_000:]}"]
    broken = [
        f"{each['title']} ({each['count']}): {each['ids'][:3]}"
        for each in report["findings"]
        if each["breaks"]
    ]
    unequal = [
        f"{each['name']}: {each['left']} ≠ {each['right']}"
        for each in report["equations"]
        if not each["holds"]
    ]
    return [f"headrace audit is {report['verdict']}: {broken} {unequal}"]


def witness_rows(home: Home) -> set[str]:
    """Return the requests of the witness that have a row."""
    return {row[0] for row in _sql(home, f"SELECT request_id FROM requests WHERE tenant = '{TENANT}'")}


def forged_rows(home: Home, request_ids: set[str]) -> list[str]:
    """Return what is wrong in ClickHouse: forged rows, and those of the witness that are not its own."""
    found = []
    for (table,) in _sql(home, _TABLES):
        # No row: it was a staging table of the rollups, and is gone.
        for (count,) in _sql(home, f"SELECT count() FROM `{table}` WHERE toString(tuple(*)) LIKE '%{MARK}%'"):
            if int(count):
                found.append(f"{count} forged rows in {table}")
    rows = _sql(home, f"SELECT request_id, user_id, status FROM requests WHERE tenant = '{TENANT}'")
    theirs = sorted(map(str, request_ids))
    if sorted(row[0] for row in rows) != theirs:
        names = {row[0] for row in rows}
        found.append(
            f"the witness has {len(rows)} rows for {len(theirs)} requests: "
            f"missing {sorted(request_ids - names)[:3]}, extra {sorted(names - request_ids)[:3]}"
        )
    found += [f"row {row}" for row in rows if row[1] != USER or row[2] not in ENDS][:3]
    return found


def _sql(home: Home, statement: str) -> list[list[Any]]:
    response = httpx.post(
        home.endpoints().clickhouse,
        params={"database": "headrace", "default_format": "JSONCompactEachRow"},
        content=statement,
        timeout=_HTTP_TIMEOUT_S,
    )
    if response.status_code == _NO_SUCH_TABLE:  # the rollups have swapped a staging table meanwhile
        return []
    response.raise_for_status()
    return [json.loads(line) for line in response.text.splitlines()]


def _rss_mib(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss // _MIB) if pid is not None else 0
    except psutil.Error:
        return 0

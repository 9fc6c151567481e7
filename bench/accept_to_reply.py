"""How long from accepting a request to its reply, with every check, the durable log and the accounting on.

Starts a Headrace of its own (`headrace up` in a temporary folder) whose simulated providers answer at once,
and measures, in one run and with the same load generator: the provider itself, and Headrace in front of it;
one request at a time, and with 100 concurrent users. Every question is new, so that each passes all five
stages. At the end every request must have its row, and the booked cost must equal the invoice.

    .venv/bin/python bench/accept_to_reply.py [--requests 2000] [--users 100] [--workers 1]
"""

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp

_CLIENT_TIMEOUT = aiohttp.ClientTimeout(total=120)
_ROW_TIMEOUT_S = 60

Send = Callable[[aiohttp.ClientSession], Awaitable[None]]


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000, help="with concurrent users")
    parser.add_argument("--alone", type=int, default=300, help="one at a time")
    parser.add_argument("--users", type=int, default=100, help="concurrent users")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of Headrace")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        home = Path(folder) / "home"
        headrace("up", "--detach", "--no-demo", "--workers", str(options.workers), home=home)
        try:
            endpoints = json.loads((home / "endpoints.json").read_text())
            asyncio.run(measure(endpoints, options))
        finally:
            headrace("down", home=home)


def headrace(*arguments: str, home: Path) -> None:
    """Run a command of the checkout that this file is in."""
    command = [sys.executable, "-m", "headrace", *arguments, "--data-dir", str(home)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180)


async def measure(endpoints: dict[str, Any], options: argparse.Namespace) -> None:
    """Measure the provider and Headrace in turn and print a table."""
    connector = aiohttp.TCPConnector(limit=options.users)
    async with aiohttp.ClientSession(timeout=_CLIENT_TIMEOUT, connector=connector) as session:
        provider, headrace_ = provider_call(endpoints), headrace_call(endpoints)
        for send in (provider, headrace_):
            await run(session, send, total=50, users=10)  # warm-up
        print(
            f"{platform.machine()}, Python {platform.python_version()}, {options.workers} worker process(es)"
        )
        print(f"{'':34}{'p50 ms':>9}{'p99 ms':>9}{'req/s':>9}")
        alone = [await run(session, send, total=options.alone, users=1) for send in (provider, headrace_)]
        report("one at a time", *alone)
        crowd = [
            await run(session, send, total=options.requests, users=options.users)
            for send in (provider, headrace_)
        ]
        report(f"{options.users} concurrent users", *crowd)
        await check_books(session, endpoints, expected=50 + options.alone + options.requests)


def provider_call(endpoints: dict[str, Any]) -> Send:
    """Return a call of the simulated provider itself."""
    headers = {"Authorization": "Bearer sk-simulated-by-headrace"}
    url = f"{endpoints['simulator']}/v1/chat/completions"

    async def send(session: aiohttp.ClientSession) -> None:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question()}]}
        async with session.post(url, json=body, headers=headers) as response:
            answer = await response.json()
            assert response.status == 200, answer  # noqa: S101  # a benchmark of errors is none

    return send


def headrace_call(endpoints: dict[str, Any]) -> Send:
    """Return the same call through Headrace."""
    headers = {"Authorization": f"Bearer {endpoints['api_key']}"}
    url = f"{endpoints['ingest']}/v1/chat/completions"

    async def send(session: aiohttp.ClientSession) -> None:
        body = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": question()}],
            "max_tokens": 64,
        }
        async with session.post(url, json=body, headers=headers) as response:
            answer = await response.json()
            assert response.status == 200, answer  # noqa: S101  # a benchmark of errors is none
            assert not answer["headrace"]["cache_hit"], answer  # noqa: S101

    return send


def question() -> str:
    """Return a short question that no cache has seen."""
    return f"What is the best use of part {uuid.uuid4().hex} in a water mill?"


async def run(session: aiohttp.ClientSession, send: Send, *, total: int, users: int) -> dict[str, float]:
    """Send `total` requests from `users` users who each wait for their reply; return the figures."""
    left = iter(range(total))
    latencies: list[float] = []

    async def user() -> None:
        for _ in left:
            started = time.perf_counter()
            await send(session)
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(user() for _ in range(users)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    return {
        "p50": 1000 * latencies[len(latencies) // 2],
        "p99": 1000 * latencies[int(len(latencies) * 0.99)],
        "rate": total / elapsed,
    }


def report(what: str, provider: dict[str, float], headrace_: dict[str, float]) -> None:
    """Print two lines and their ratio."""
    for name, figures in (("provider itself", provider), ("through Headrace", headrace_)):
        print(f"{what + ', ' + name:34}{figures['p50']:9.1f}{figures['p99']:9.1f}{figures['rate']:9.0f}")
    print(
        f"{'  Headrace / provider':34}{headrace_['p50'] / provider['p50']:9.1f}"
        f"{headrace_['p99'] / provider['p99']:9.1f}{headrace_['rate'] / provider['rate']:9.3f}"
    )


async def check_books(session: aiohttp.ClientSession, endpoints: dict[str, Any], *, expected: int) -> None:
    """Check that every request has its row, and that the books equal the provider's invoice."""
    query = "SELECT count(), toString(sum(cost_usd)) FROM headrace.requests FORMAT TSV"
    started = time.perf_counter()
    count, booked = 0, Decimal(0)
    while count < expected and time.perf_counter() - started < _ROW_TIMEOUT_S:
        async with session.post(endpoints["clickhouse"], data=query) as response:
            rows, usd = (await response.text()).split()
        count, booked = int(rows), Decimal(usd)
        await asyncio.sleep(0.2)
    async with session.get(f"{endpoints['simulator_control']}/invoice") as response:
        items = (await response.json())["items"]
    ours = sum((Decimal(item["usd"]) for item in items if item["client_request_id"]), Decimal(0))
    verdict = "equal" if booked == ours else "DIFFER"
    print(f"rows {count} of {expected}; booked ${booked}, invoiced ${ours}: {verdict}")


if __name__ == "__main__":
    main()

"""Streams that are dropped, and many at once: whether anybody misses a character, and what ingest needs.

Starts a Headrace of its own (`headrace up` in a temporary folder) with simulated providers, and measures

1. *drops*: one answer of so many tokens; clients that drop every connection after 1, 2, 3, … events and come
   back with `Last-Event-ID`; and clients that come back after the first, second, third, … character, as soon
   as that is written and again after the answer has ended;
2. *crowd*: so many clients at once, each with an answer of its own, at so many tokens a second: time to the
   first text, gaps between events, memory and CPU by process;
3. *crash*: the same crowd, and `kill -9` of ingest in the middle: all clients come back at once.

Every client's text must be its request's answer, to the character, without a `reset`.

    .venv/bin/python -m bench.stream_resume [--tokens 400] [--clients 200] [--tokens-per-second 20]
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.event_stream import Follower
from ingest.follow.answer_cursor import StreamPosition
from streams.model_catalogue import count_text

_ANSWERS = 8
_SAMPLE_S = 0.25
_PATIENCE_S = 300.0
_MIB = 1024 * 1024
#: A share of a core that is worth printing.
_TELLING = 0.005


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=400, help="of each answer")
    parser.add_argument("--clients", type=int, default=200, help="of the crowd")
    parser.add_argument("--tokens-per-second", type=float, default=20.0, help="of each stream of the crowd")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of Headrace")
    parser.add_argument("--only-crowd", action="store_true", help="leave out the drops and the crash")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        home = Path(folder) / "home"
        environ = os.environ | {"HEADRACE_LLM_IN_FLIGHT": str(max(256, options.clients))}
        headrace("up", "--detach", "--no-demo", "--workers", str(options.workers), home=home, environ=environ)
        try:
            asyncio.run(measure(Bench(home, options)))
        finally:
            headrace("down", home=home, environ=environ)


def headrace(*arguments: str, home: Path, environ: dict[str, str]) -> None:
    """Run a command of the checkout that this file is in."""
    command = [sys.executable, "-m", "headrace", *arguments, "--data-dir", str(home)]
    subprocess.run(
        command, env=environ, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180
    )


class Bench:
    """The running system, and what is asked of it."""

    def __init__(self, home: Path, options: argparse.Namespace) -> None:
        self.home = home
        self.options = options
        self.endpoints: dict[str, Any] = json.loads((home / "endpoints.json").read_text())
        self.ingest = str(self.endpoints["ingest"])
        self.texts = [_text(index, options.tokens) for index in range(_ANSWERS)]

    @property
    def pids(self) -> dict[str, int]:
        """The process ids by role, as they are now."""
        status = json.loads((self.home / "status.json").read_text())
        return {each["role"]: int(each["pid"]) for each in status["processes"] if each["pid"]}

    @property
    def ingest_pid(self) -> int:
        """The process id of ingest, as it is now."""
        return self.pids["ingest"]

    def streams_given_up(self) -> int:
        """Return how many streams the workers have stopped publishing, as their logs say."""
        logs = (self.home / "log").glob("worker-*.log")
        return sum(path.read_text(errors="replace").count("llm.deltas_stopped") for path in logs)

    async def behave(self, tokens_per_second: float) -> None:
        """Have the provider write the answers at a pace, in chunks of a token."""
        answers = [
            {"prompt_contains": f"answer {index},", "text": text} for index, text in enumerate(self.texts)
        ]
        behaviour = {"latency": {"tokens_per_second": tokens_per_second}, "answers": answers}
        url = f"{self.endpoints['simulator_control']}/behaviour"
        async with (
            aiohttp.ClientSession() as operator,
            operator.put(url, json=behaviour, raise_for_status=True),
        ):
            pass

    async def submit(self, session: aiohttp.ClientSession, index: int) -> str:
        """Ask for one of the answers, under a question that no cache has seen."""
        query = f"answer {index % _ANSWERS}, {uuid.uuid4()}"
        body = {"query": query, "user_id": "bench", "stream": True, "deadline_ms": 300_000}
        async with session.post(f"{self.ingest}/v1/requests", json=body, raise_for_status=True) as response:
            return str((await response.json())["request_id"])


@dataclass
class Usage:
    """What the processes needed while they were watched."""

    rss_bytes: dict[str, int] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @contextlib.asynccontextmanager
    async def watch(self, bench: Bench) -> AsyncIterator[None]:
        """Watch the processes, also where one is another after a crash."""
        sampling = asyncio.create_task(self._sample(bench))
        try:
            yield
        finally:
            sampling.cancel()

    async def _sample(self, bench: Bench) -> None:
        begun, before = time.monotonic(), dict[int, float]()
        while True:
            with contextlib.suppress(ValueError, KeyError):  # it is being written
                for role, pid in bench.pids.items():
                    with contextlib.suppress(psutil.Error):
                        self._look(role, psutil.Process(pid), before)
            self.elapsed_s = time.monotonic() - begun
            await asyncio.sleep(_SAMPLE_S)

    def _look(self, role: str, process: psutil.Process, before: dict[int, float]) -> None:
        used = sum(process.cpu_times()[:2])
        more = used - before.setdefault(process.pid, used)
        self.cpu_s[role] = self.cpu_s.get(role, 0.0) + more
        before[process.pid] = used
        self.rss_bytes[role] = max(self.rss_bytes.get(role, 0), process.memory_info().rss)

    def __str__(self) -> str:
        shares = {role: used / self.elapsed_s for role, used in self.cpu_s.items() if self.elapsed_s}
        busy = ", ".join(f"{role} {share:.0%}" for role, share in shares.items() if share >= _TELLING)
        memory = ", ".join(
            f"{role} {self.rss_bytes[role] / _MIB:.0f} MiB"
            for role in self.rss_bytes
            if role == "ingest" or role.startswith("worker")
        )
        return f"{memory} at most; of a core: {busy}"


async def measure(bench: Bench) -> None:
    """Measure all three and print them."""
    options = bench.options
    headers = {"Authorization": f"Bearer {bench.endpoints['api_key']}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a kept one may be closed as it is used
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        print(f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores, "
              f"{options.workers} worker process(es), answers of {options.tokens} tokens")  # fmt: skip
        if not options.only_crowd:
            await measure_drops(bench, session)
        await measure_crowd(bench, session, crash=False)
        if not options.only_crowd:
            await measure_crowd(bench, session, crash=True)


async def measure_drops(bench: Bench, session: aiohttp.ClientSession) -> None:
    """Come back at every character of an answer, as soon as it is written, and after the answer has ended."""
    await bench.behave(40)
    text = bench.texts[0]
    request_id = await bench.submit(session, 0)
    early: list[asyncio.Task[None]] = []

    def come_back_here(whole: Follower) -> None:
        early.extend(
            asyncio.create_task(come_back(bench, session, request_id, text, at))
            for at in range(len(early), len(whole.text))
        )

    async with asyncio.timeout(_PATIENCE_S):
        whole = Follower(session, request_id, on_text=come_back_here)
        droppers = [Follower(session, request_id) for _ in range(bench.options.tokens)]
        await asyncio.gather(
            whole.read_to_the_end([bench.ingest]),
            *(each.read_to_the_end([bench.ingest], events=at) for at, each in enumerate(droppers, 1)),
        )
        await asyncio.gather(*early)
        for at in range(len(text) + 1):
            await come_back(bench, session, request_id, text, at)
    check([whole, *droppers], [text] * (1 + len(droppers)))
    dropped = sum(each.drops for each in droppers)
    print(f"drops: {dropped} connections dropped after 1 to {len(whole.ids)} events, "
          f"{len(early)} begun after each character while the answer was written, {len(text) + 1} after its "
          "end: no character missed")  # fmt: skip


async def come_back(
    bench: Bench, session: aiohttp.ClientSession, request_id: str, text: str, at: int
) -> None:
    """Be a client that has so many characters of an answer."""
    client = Follower(session, request_id)
    client.text, client.last_event_id = text[:at], StreamPosition(text[:at]).event_id
    await client.read_to_the_end([bench.ingest])
    check([client], [text])


async def measure_crowd(bench: Bench, session: aiohttp.ClientSession, *, crash: bool) -> None:
    """Have many clients follow an answer each."""
    options = bench.options
    await bench.behave(options.tokens_per_second)
    usage, seen, given_up = Usage(), Seen(), bench.streams_given_up()
    async with usage.watch(bench), asyncio.timeout(_PATIENCE_S):
        clients = await asyncio.gather(
            *(begin(bench, session, index, seen) for index in range(options.clients))
        )
        following = [asyncio.create_task(each.read_to_the_end([bench.ingest])) for each in clients]
        if crash:
            await until_begun(clients)
            os.kill(bench.ingest_pid, signal.SIGKILL)
            seen.killed_at = time.monotonic()
        await asyncio.gather(*following)
    check(clients, [bench.texts[index % _ANSWERS] for index in range(len(clients))])
    name = "crash" if crash else "crowd"
    print(f"{name}: {len(clients)} clients at {options.tokens_per_second:g} tokens/s: no character missed; "
          f"{seen}; {usage}; {bench.streams_given_up() - given_up} streams given up")  # fmt: skip


class Seen:
    """When text came."""

    def __init__(self) -> None:
        self.submitted: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.first_s: list[float] = []
        self.gaps_s: list[float] = []
        self.killed_at: float | None = None
        self.back_s: dict[str, float] = {}

    def take(self, client: Follower) -> None:
        """Note an event."""
        now, name = time.monotonic(), client.request_id
        if name not in self.last:
            self.first_s.append(now - self.submitted[name])
        else:
            self.gaps_s.append(now - self.last[name])
        self.last[name] = now
        if self.killed_at is not None and client.drops:
            self.back_s.setdefault(name, now - self.killed_at)

    def __str__(self) -> str:
        if self.back_s:
            back = sorted(self.back_s.values())
            return f"text again {_spread(back)} s after the kill, for {len(back)} of them"
        return f"first text after {_spread(self.first_s)} s, then every {_spread(self.gaps_s)} s"


async def begin(bench: Bench, session: aiohttp.ClientSession, index: int, seen: Seen) -> Follower:
    """Submit one request of the crowd, not all in the same instant."""
    await asyncio.sleep(index * 0.01)
    begun = time.monotonic()
    client = Follower(session, await bench.submit(session, index), on_text=seen.take)
    seen.submitted[client.request_id] = begun
    return client


async def until_begun(clients: Sequence[Follower]) -> None:
    """Wait until half of the clients have some text."""
    while sum(bool(each.text) for each in clients) < len(clients) / 2:  # noqa: ASYNC110  # each sets its own
        await asyncio.sleep(0.1)


def check(clients: Sequence[Follower], texts: Sequence[str]) -> None:
    """Compare what each client has with what it should have.

    Raises:
        SystemExit: a character is missing, or was sent twice.
    """
    for client, text in zip(clients, texts, strict=True):
        if client.text != text or client.resets:
            sys.exit(
                f"request {client.request_id}: {len(client.text)} of {len(text)} characters, "
                f"{client.resets} resets: {client.text!r}"
            )


def _text(index: int, tokens: int) -> str:
    """Return an answer of so many tokens that no other answer begins with."""
    words: list[str] = []
    while count_text(" ".join(words)) < tokens:
        number = len(words)
        words.append(f"w{index}n{number}" if number % 7 else f"「{index}」é")
    return " ".join(words)


def _spread(values_s: Sequence[float]) -> str:
    cut = statistics.quantiles(values_s, n=100)
    return f"{cut[49]:.3f} (p50), {cut[98]:.3f} (p99)"


if __name__ == "__main__":
    main()

"""What Headrace adds to the time until a streamed answer's first text, and to the time between its pieces.

Starts a Headrace of its own (`headrace up` in a temporary folder) whose simulated providers take so long to
the first token and write so many tokens a second, and asks the same questions with the same client in turn:
of the provider itself, and of Headrace (`/v1/chat/completions` with `stream`), with 1, 20 and 50 streams open
all the time. Every question is new, so that each passes all stages.

Part of what is added is no work: the output check holds back the end of a text until it is known not to be
the beginning of something that must not come out, and any word may be the beginning of an e-mail address. So
the first word leaves when the second token has come, and the provider's own time to *that* is printed, too.
With `--mail-may-pass` addresses are not redacted, and the first word leaves at once.

    .venv/bin/python -m bench.time_to_first_token [--streams 1 20 50] [--tokens-per-second 20] [--py-spy PATH]
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.chaos.system import SIMULATOR_KEY, System
from bench.profile_areas import Profiler
from bench.worker_cpu import cpu_seconds, resident_mib, worker_pids

_PATIENCE_S = 300.0
_WARM_UP = 20
_ALL_BUT_MAIL = ("credit_card", "ssn", "iban", "phone")
_ROUNDS = 4
_LEAST = 20
_SETTLE_S = 1.0
_WORKER = "worker-0"
#: A share of a core that is worth printing.
_TELLING = 0.005


def main() -> None:
    """Run the benchmark and print its figures."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        environ = {"HEADRACE_OUTPUT_REDACT": json.dumps(_ALL_BUT_MAIL)} if options.mail_may_pass else {}
        system = System(Path(folder), workers=options.workers, environ=environ)
        try:
            system.start()
            asyncio.run(measure(system, options))
        finally:
            system.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 20, 50], help="open at once, in turn")
    parser.add_argument("--first-token-ms", type=float, default=250.0, help="of the provider")
    parser.add_argument("--tokens-per-second", type=float, default=20.0, help="of each stream")
    parser.add_argument("--tokens", type=int, default=40, help="of each answer")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of Headrace")
    parser.add_argument(
        "--mail-may-pass",
        action="store_true",
        help="do not redact e-mail addresses: then the first word need not wait for the second",
    )
    parser.add_argument("--py-spy", type=Path, help="path of py-spy: also print where a worker's time goes")
    return parser.parse_args()


@dataclass(frozen=True)
class Target:
    """Where streams come from."""

    url: str
    key: str

    async def stream(self, session: aiohttp.ClientSession, seen: "Seen") -> None:
        """Ask a new question and read its answer to the end."""
        body = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": f"Which part is {uuid.uuid4().hex}?"}],
            "stream": True,
        }
        begun, at = time.perf_counter(), list[float]()
        headers = {"Authorization": f"Bearer {self.key}"}
        text = ""
        async with session.post(self.url, json=body, headers=headers, raise_for_status=True) as response:
            async for line in response.content:
                said = _text(line)
                if said:
                    at.append(time.perf_counter() - begun)
                    text += said
        seen.take(at, text)


def _text(line: bytes) -> str:
    """Return the text in a line of an event stream, if there is some."""
    if not line.startswith(b"data: {"):
        return ""
    event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    if "error" in event:
        sys.exit(f"a stream ended with {event['error']}")
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


@dataclass
class Seen:
    """When pieces of text came, in seconds from when they were asked for."""

    first_s: list[float] = field(default_factory=list)
    second_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)

    def take(self, at: Sequence[float], text: str) -> None:
        """Note one answer.

        Raises:
            SystemExit: it came in fewer than two pieces, so that there is nothing to measure.
        """
        if len(at) < 2:
            sys.exit(f"an answer came in {len(at)} pieces: {text!r}")
        self.first_s.append(at[0])
        self.second_s.append(at[1])
        self.gaps_s += [later - earlier for earlier, later in itertools.pairwise(at)]
        self.characters.append(len(text))


async def measure(system: System, options: argparse.Namespace) -> None:
    """Measure each number of streams, the provider and Headrace in turn, and print a table."""
    provider = Target(f"{system.simulator}/v1/chat/completions", SIMULATOR_KEY)
    headrace = Target(f"{system.endpoints.ingest}/v1/chat/completions", system.endpoints.api_key)
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        await behave(system, session, options)
        print(
            f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores, "
            f"{options.workers} worker process(es); the provider: {options.first_token_ms:g} ms to the first "
            f"token, then {options.tokens_per_second:g} tokens/s, {options.tokens} tokens an answer"
        )
        await crowd(session, headrace, streams=10, total=_WARM_UP)
        for streams in options.streams:
            total = max(_LEAST, _ROUNDS * streams)
            own = await crowd(session, provider, streams=streams, total=total)
            pids = worker_pids(system)
            profiler = Profiler(options.py_spy, pids[_WORKER]) if options.py_spy else None
            before, begun = cpu_seconds(pids), time.monotonic()
            through = await crowd(session, headrace, streams=streams, total=total)
            spent = busy(before, cpu_seconds(pids), time.monotonic() - begun, answers=total)
            profile = profiler.finish() if profiler else []
            report(streams, own, through)
            print(f"  CPU: {spent}; the worker has {resident_mib(pids)[_WORKER]:.0f} MiB")
            print("\n".join(profile), end="\n" if profile else "")
            await asyncio.sleep(_SETTLE_S)


async def behave(system: System, session: aiohttp.ClientSession, options: argparse.Namespace) -> None:
    """Have the provider write answers of so many words, at its pace, a token a chunk."""
    latency = {"first_token_ms": options.first_token_ms, "tokens_per_second": options.tokens_per_second}
    text = " ".join(
        itertools.islice(itertools.cycle(("The", "water", "turns", "our", "mill")), options.tokens)
    )
    behaviour = {"latency": latency, "answers": [{"text": text}]}
    async with session.put(f"{system.simulator_control}/behaviour", json=behaviour, raise_for_status=True):
        pass


async def crowd(session: aiohttp.ClientSession, target: Target, *, streams: int, total: int) -> Seen:
    """Keep so many streams open until so many answers have come, begun evenly over time."""
    seen, left = Seen(), iter(range(total))

    async def user(index: int) -> None:
        await asyncio.sleep(index / streams)
        for _ in left:
            await target.stream(session, seen)

    async with asyncio.timeout(_PATIENCE_S):
        await asyncio.gather(*(user(index) for index in range(streams)))
    if len(set(seen.characters)) != 1:
        sys.exit(f"answers of {sorted(set(seen.characters))} characters: some are not whole")
    return seen


def busy(before: Mapping[str, float], after: Mapping[str, float], elapsed_s: float, *, answers: int) -> str:
    """Return the share of a core that each process took, and what that is for each answer."""
    used = {role: after[role] - before[role] for role in before}
    return ", ".join(
        f"{role} {cpu_s / elapsed_s:.0%} ({1000 * cpu_s / answers:.1f} ms an answer)"
        for role, cpu_s in used.items()
        if cpu_s / elapsed_s >= _TELLING
    )


def report(streams: int, own: Seen, through: Seen) -> None:
    """Print what one number of streams has shown."""
    provider, second, headrace = (quantiles_ms(each) for each in (own.first_s, own.second_s, through.first_s))
    gaps, gaps_through = quantiles_ms(own.gaps_s), quantiles_ms(through.gaps_s)
    print(f"{streams} streams, {len(through.first_s)} answers:         p50 ms   p99 ms")
    for name, (p50, p99) in (
        ("the provider's first token", provider),
        ("the provider's second token", second),
        ("the first text through Headrace", headrace),
        ("  more than the first token", (headrace[0] - provider[0], headrace[1] - provider[1])),
        ("  more than the second token", (headrace[0] - second[0], headrace[1] - second[1])),
        ("between the provider's tokens", gaps),
        ("between pieces through Headrace", gaps_through),
    ):
        print(f"  {name:34}{p50:8.1f}{p99:9.1f}")
    ratio = headrace[0] / provider[0], headrace[1] / provider[1]
    print(f"  {'first text, Headrace / provider':34}{ratio[0]:8.2f}{ratio[1]:9.2f}")


def quantiles_ms(values_s: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    ordered = sorted(values_s)
    return 1000 * ordered[len(ordered) // 2], 1000 * ordered[int(len(ordered) * 0.99)]


if __name__ == "__main__":
    main()

"""One run: a fresh system, load and faults, calm, and the two checks."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from bench.chaos.faults import Faults, Providers
from bench.chaos.http_client import HttpClient
from bench.chaos.invoice import check_provider
from bench.chaos.kafka_client import KafkaClient, seen_reply
from bench.chaos.ledger import Ledger
from bench.chaos.load import Load
from bench.chaos.memory import Memory
from bench.chaos.recovery import Prober
from bench.chaos.report import Report
from bench.chaos.schedule import Step
from bench.chaos.stock import Stock, StockVerdict
from bench.chaos.submissions import SeenReply
from bench.chaos.system import REPLY_TOPIC, System
from streams.codec import header
from streams.topics import DEAD_LETTERS, REPLIES

_STOCK_DRAIN_S = 240.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a run goes.

    Attributes:
        duration_s: of the load, at least.
        rate: new requests a second, on average.
        target: how many requests are to be in flight.
        latency_s: the least and the most that a provider takes until the first token.
        stock_rate: messages a second for stock Faust beside it; 0 leaves it out.
        busy: how many are to be in flight at a kill; it waits for them, but not for ever.
        settle_s: how long the rest may take to be answered.
        audit_s: how long the audit may wait.
    """

    seed: int
    duration_s: float
    rate: float
    target: int
    latency_s: tuple[float, float]
    workers: int = 2
    stock_rate: float = 0.0
    busy: int = 0
    settle_s: float = 300.0
    audit_s: int = 120


class Run:
    """Runs the suite on a system that was started.

    Args:
        system: fresh.
        options: how.
        plan: the faults.
        say: told what is going on.
    """

    def __init__(
        self, system: System, options: Options, plan: Sequence[Step], *, say: Callable[[str], None] = print
    ) -> None:
        self._system = system
        self._options = options
        self._plan = plan
        self._say = say
        self._ledger = Ledger(REPLY_TOPIC)
        endpoints = system.endpoints
        self._kafka = KafkaClient(endpoints.kafka, self._on_reply)
        self._http = HttpClient(endpoints.ingest, endpoints.api_key, random.Random(options.seed))
        self._load = Load(self._ledger, self._kafka, self._http, seed=options.seed)
        self._prober = Prober(self._load.probe)
        low_s, high_s = options.latency_s
        latency = {"distribution": "uniform", "min_ms": low_s * 1000, "max_ms": high_s * 1000}
        self._providers = Providers(system.simulator_control, latency)
        self._memory = Memory(system)
        self._loaded_s = 0.0

    def _on_reply(self, reply: SeenReply) -> None:
        self._load.on_reply(reply)

    async def run(self, command: str, folder: Path) -> Report:
        """Return the report; everything that was started here is ended by then."""
        async with AsyncExitStack() as stack:
            stock = await self._stock(folder, stack)
            faults = Faults(
                self._system,
                self._providers,
                self._prober,
                on_worker_killed=stock.kill if stock else lambda: None,
                in_flight=lambda: self._ledger.in_flight,
                busy=self._options.busy,
                say=self._say,
            )
            stack.push_async_callback(faults.undo_all)
            for client in (self._kafka, self._http):
                stack.push_async_callback(client.stop)
                await client.start()
            stack.push_async_callback(self._prober.stop)
            self._providers.behave()
            memory = asyncio.create_task(self._memory.run())
            stack.callback(memory.cancel)
            await self._trouble(faults, stock)
            await self._calm(faults)
            stock_verdict = await stock.verdict(timeout_s=_STOCK_DRAIN_S) if stock else None
            return await self._report(command, faults, stock_verdict)

    async def _stock(self, folder: Path, stack: AsyncExitStack) -> Stock | None:
        options = self._options
        if not options.stock_rate:
            return None
        stock = Stock(
            self._system.endpoints.kafka,
            folder,
            takes_s=lambda chance: chance.uniform(*options.latency_s),
            environ=self._system.environ(),
            seed=options.seed,
        )
        stack.push_async_callback(stock.stop)
        await stock.start()
        return stock

    async def _trouble(self, faults: Faults, stock: Stock | None) -> None:
        """Load and faults, side by side; the load lasts until the last fault is done."""
        options, over = self._options, asyncio.Event()
        started = time.monotonic()
        load = [self._load.run(over, rate=options.rate, target=options.target)]
        if stock:
            load.append(stock.run(over, rate=options.stock_rate))
        loading = asyncio.gather(*load)
        try:
            await faults.carry_out(self._plan, started=started)
            await asyncio.sleep(max(0.0, started + options.duration_s - time.monotonic()))
        finally:
            over.set()
        await loading
        self._loaded_s = time.monotonic() - started

    async def _calm(self, faults: Faults) -> None:
        """Let everything come to its end."""
        self._say(f"load and faults are over; {self._ledger.in_flight} in flight")
        await self._prober.idle(60)
        await faults.undo_all()
        await self._load.settle(self._options.settle_s)
        self._say(f"{self._ledger.in_flight} left unanswered")

    async def _report(self, command: str, faults: Faults, stock: StockVerdict | None) -> Report:
        await self._sweep()
        audit_code, audit = await asyncio.to_thread(self._audit)
        clickhouse = self._system.endpoints.clickhouse
        return Report(
            command=command,
            seed=self._options.seed,
            duration_s=self._loaded_s,
            senders=self._ledger.verdict(),
            kills=faults.kills,
            rebalances=faults.rebalances,
            recoveries=tuple(self._prober.recoveries),
            audit_code=audit_code,
            audit=audit,
            provider=await asyncio.to_thread(check_provider, self._system.simulator_control, clickhouse),
            memory_mib=self._memory.most_mib,
            in_flight_at_kills=tuple(faults.in_flight_at_kills),
            client_retries={
                "Kafka": self._kafka.retries,
                "HTTP": self._http.retries,
                "of those timed out": self._http.timeouts,
            },
            gave_up=tuple(self._load.gave_up),
            missed=tuple(faults.missed),
            restarts={each.role: each.restarts for each in self._system.home.status().processes},
            stock=stock,
        )

    async def _sweep(self) -> None:
        """Read everything that was replied or buried from the beginning: the check rests on the topics."""
        for topic in (REPLY_TOPIC, REPLIES.name):
            async for record in self._kafka.sweep(topic):
                self._load.on_reply(seen_reply(record))
        async for record in self._kafka.sweep(DEAD_LETTERS.name):
            correlation = header(record.headers, "kafka_correlationId")
            self._ledger.buried((correlation or b"").decode("utf-8", "replace"))

    def _audit(self) -> tuple[int, dict[str, Any]]:
        wait = str(self._options.audit_s)
        result = self._system.headrace(
            "audit", "--json", "--wait", wait, timeout_s=self._options.audit_s + 300, check=False
        )
        try:
            return result.returncode, dict(json.loads(result.stdout))
        except ValueError:
            return result.returncode or 1, {"output": (result.stdout + result.stderr)[-2000:]}

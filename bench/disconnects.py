"""Clients that disconnect at a random point: what is spent is booked, once, whoever is there to read it.

Starts a Headrace of its own in a fresh folder, and sends streaming chats over `/v1/chat`,
`/v1/chat/completions` and `/v1/messages`, half of them with `on_disconnect: continue` and half with `cancel`,
by the field or the header. Each client drops its connection before the headers, after some of the text, or
with the whole text and before the end mark. Once all requests have ended, the replies, the ledger, ClickHouse
and the provider's invoice are compared, call by call. Exit status 0 only if all of it holds:

- `headrace audit` balances;
- every accepted request has one reply, and the ledger and ClickHouse say what the replies say;
- of `continue`, every request was answered by one call, whose invoice is what is booked;
- of `cancel`, a stopped call's bill exceeds its booking by no more than what was on its way (docs/http.md),
  and one that was not stopped is booked to the last digit.

    .venv/bin/python -m bench.disconnects [--clients 500] [--at-once 40] [--seed 7]
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp

from bench.chaos.system import System
from headrace.up.home import Endpoints
from ingest.submit.identification import request_id_for
from streams.model_catalogue import MODELS

MODEL = "gpt-4o"
#: About 60 tokens.
ANSWER = " ".join(f"{number}. The river drives the mill;" for number in range(1, 9))
TOKENS_PER_SECOND = 40
FIRST_TOKEN_MS = 300
BEHAVIOUR = {
    "latency": {"first_token_ms": FIRST_TOKEN_MS, "tokens_per_second": TOKENS_PER_SECOND},
    "answers": [{"prompt_contains": "leave early", "text": ANSWER}],
}
#: What was on its way when a connection was closed is billed, and read by nobody: on a busy machine so much.
ON_ITS_WAY_S = 1.0
_SETTLE_S = 120.0
#: A request that is unknown so long after its client has left was never accepted.
_UNKNOWN_S = 5.0
_AUDIT_WAIT_S = 90
_POLL_S = 0.5
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=30)


class Point(StrEnum):
    """Where a client drops its connection."""

    HEADERS = "before the headers"
    TEXT = "during the text"
    LAST_TOKEN = "at the last token"  # noqa: S105  # of an answer


@dataclass(kw_only=True)
class Leaver:
    """One client: what it asks, and where it leaves.

    Attributes:
        after_s: how long it waits for the headers, if it leaves before them.
        after_chars: how much text it reads, if it leaves during the text.
        dropped: whether it left; a stream may end first.
        reply: what became of its request; None where it was never accepted.
    """

    path: str
    policy: str
    by_header: bool
    point: Point
    after_s: float
    after_chars: int
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    dropped: bool = False
    reply: dict[str, Any] | None = None

    @property
    def request_id(self) -> str:
        """The id that ingest derives from the key: who leaves early has not read it."""
        return request_id_for("default", self.key)

    @property
    def headers(self) -> dict[str, str]:
        """The key, and the policy where it goes by header."""
        policy = {"X-Headrace-On-Disconnect": self.policy} if self.by_header else {}
        return {"Idempotency-Key": self.key} | policy

    @property
    def body(self) -> dict[str, Any]:
        """A question that no cache has seen."""
        query = f"leave early {self.key}"
        if self.path == "/v1/chat":
            native: dict[str, Any] = {"query": query, "user_id": "leaver", "stream": True, "model": MODEL}
            return native if self.by_header else native | {"on_disconnect": self.policy}
        return {
            "model": MODEL,
            "messages": [{"role": "user", "content": query}],
            "max_tokens": 500,
            "stream": True,
        }


def leavers(count: int, seed: int) -> list[Leaver]:
    """Draw the clients."""
    drawn = random.Random(seed)
    found = []
    for _ in range(count):
        path = drawn.choice(("/v1/chat", "/v1/chat/completions", "/v1/messages"))
        found.append(
            Leaver(
                path=path,
                policy=drawn.choice(("continue", "cancel")),
                by_header=path != "/v1/chat" or drawn.random() < 0.5,
                point=drawn.choice(tuple(Point)),
                after_s=drawn.uniform(0.0, FIRST_TOKEN_MS / 1000),
                after_chars=drawn.randrange(1, len(ANSWER)),
            )
        )
    return found


class Clients:
    """Sends the requests, drops the connections, and waits until all requests have ended.

    Args:
        endpoints: of a running Headrace whose simulator behaves as `BEHAVIOUR`.
        at_once: how many clients there are at a time.
    """

    def __init__(self, endpoints: Endpoints, *, at_once: int) -> None:
        self._ingest = endpoints.ingest
        self._headers = {"Authorization": f"Bearer {endpoints.api_key}"}
        self._places = asyncio.Semaphore(at_once)

    async def run(self, clients: Sequence[Leaver]) -> None:
        """Have each of them leave; afterwards each accepted one has its reply.

        Raises:
            TimeoutError: a request does not end.
        """
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(
            self._ingest, headers=self._headers, timeout=_TIMEOUT, connector=connector
        ) as session:
            await asyncio.gather(*(self._leave(session, each) for each in clients))
            await self._settle(session, clients)

    async def _leave(self, session: aiohttp.ClientSession, client: Leaver) -> None:
        async with self._places:
            limit_s = client.after_s if client.point is Point.HEADERS else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s) as limit:
                    response = await session.post(client.path, json=client.body, headers=client.headers)
                    limit.reschedule(None)
                    await _read(response, client)
                return
            client.dropped = True

    async def _settle(self, session: aiohttp.ClientSession, clients: Sequence[Leaver]) -> None:
        began = time.monotonic()
        waiting = list(clients)
        async with asyncio.timeout(_SETTLE_S):
            while waiting:
                for client in waiting:
                    status, found = await _fetch(session, client.request_id)
                    if "cost_usd" in found:
                        client.reply = found
                    elif status == 404 and time.monotonic() - began > _UNKNOWN_S:
                        client.reply = {}
                waiting = [each for each in waiting if each.reply is None]
                await asyncio.sleep(_POLL_S)
        for client in clients:
            client.reply = client.reply or None


async def _read(response: aiohttp.ClientResponse, client: Leaver) -> None:
    """Read until the client leaves, or the stream ends."""
    async with response:
        if response.status != 200:
            raise RuntimeError(f"{client.path} answered {response.status}: {await response.text()}")
        text = ""
        async for line in response.content:
            text += _text_of(line)
            enough = len(ANSWER) if client.point is Point.LAST_TOKEN else client.after_chars
            if client.point is Point.HEADERS or len(text) >= enough:
                client.dropped = True
                response.close()  # the connection, too
                return


def _text_of(line: bytes) -> str:
    """Return the text in a line of any of the three streams."""
    if not line.startswith(b"data: {"):
        return ""
    data = json.loads(line.removeprefix(b"data: "))
    if "error" in data:
        raise RuntimeError(f"a stream has ended with {data['error']}")
    if data.get("choices"):
        return str(data["choices"][0]["delta"].get("content") or "")
    delta = data.get("delta")
    return str(delta.get("text", "")) if delta else str(data.get("token", ""))


async def _fetch(session: aiohttp.ClientSession, request_id: str) -> tuple[int, dict[str, Any]]:
    async with session.get(f"/v1/requests/{request_id}") as response:
        found: dict[str, Any] = json.loads(await response.text(), parse_float=Decimal)
        return response.status, found


@dataclass(frozen=True, kw_only=True)
class Books:
    """What is written: the calls and the amount of each request, and the invoice's item of each call."""

    calls: dict[str, list[dict[str, Any]]]
    rows: dict[str, Decimal]
    invoice: dict[str, dict[str, Any]]


async def books(endpoints: Endpoints, clients: Sequence[Leaver]) -> Books:
    """Read the books, once each accepted request has its row."""
    ids = [each.request_id for each in clients if each.reply is not None]
    where = "WHERE request_id IN ({})".format(",".join(f"'{each}'" for each in ids))
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:

        async def sql(query: str) -> list[dict[str, Any]]:
            settings = {"default_format": "JSONEachRow", "output_format_json_quote_decimals": "1"}
            async with session.post(endpoints.clickhouse, params=settings, data=query) as response:
                response.raise_for_status()
                return [json.loads(line) for line in (await response.text()).splitlines()]

        async with asyncio.timeout(_SETTLE_S):
            while True:
                rows = await sql(f"SELECT request_id, cost_usd FROM headrace.requests {where}")
                if len(rows) >= len(ids):
                    break
                await asyncio.sleep(_POLL_S)
        calls: dict[str, list[dict[str, Any]]] = {each: [] for each in ids}
        for call in await sql(f"SELECT request_id, call_id, cost_usd, error FROM headrace.llm_calls {where}"):
            calls[call["request_id"]].append(call)
        async with session.get(f"{endpoints.simulator_control}/invoice") as response:
            items = json.loads(await response.text())["items"]
    by_request = {row["request_id"]: Decimal(row["cost_usd"]) for row in rows}
    return Books(calls=calls, rows=by_request, invoice={item["client_request_id"]: item for item in items})


def compare(clients: Sequence[Leaver], found: Books) -> list[str]:
    """Return what must not be, in words: nothing where every bill is booked as it should be."""
    wrong = []
    for client in clients:
        if client.reply is not None:
            wrong += [f"{client.request_id} ({client.policy}): {what}" for what in _faults(client, found)]
    return wrong


def _faults(client: Leaver, found: Books) -> list[str]:
    reply, calls = client.reply or {}, found.calls[client.request_id]
    booked = sum((Decimal(call["cost_usd"]) for call in calls), Decimal(0))
    faults = []
    if not Decimal(reply["cost_usd"]) == found.rows[client.request_id] == booked:
        faults.append(f"reply {reply['cost_usd']}, row {found.rows[client.request_id]}, calls {booked}")
    if client.policy == "continue" and (reply["status"], len(calls)) != ("answered", 1):
        faults.append(f"{reply['status']} with {len(calls)} calls")
    if reply["status"] not in {"answered", "cancelled"}:
        faults.append(f"it ended {reply['status']}")
    for call in calls:
        item = found.invoice.get(call["call_id"])
        billed = Decimal(item["usd"]) if item else Decimal(0)
        unseen = billed - Decimal(call["cost_usd"])
        most = on_its_way_usd() if call["error"] == "cancelled" else Decimal(0)
        if not 0 <= unseen <= most:
            faults.append(f"billed {billed}, booked {call['cost_usd']} ({call['error'] or 'completed'})")
    return faults


def on_its_way_usd() -> Decimal:
    """Return what a provider may bill of a stream that was stopped beyond what is known of."""
    return MODELS[MODEL].cost_usd(input_tokens=0, output_tokens=int(TOKENS_PER_SECOND * ON_ITS_WAY_S))


def summary(clients: Sequence[Leaver], found: Books) -> str:
    """Return the figures, a line for each policy."""
    lines = [f"left {where}: {count}" for where, count in _left(clients).items()]
    for policy in ("continue", "cancel"):
        mine = [each for each in clients if each.policy == policy and each.reply is not None]
        calls = [call for each in mine for call in found.calls[each.request_id]]
        items = [found.invoice[call["call_id"]] for call in calls if call["call_id"] in found.invoice]
        booked = sum((Decimal(call["cost_usd"]) for call in calls), Decimal(0))
        billed = sum((Decimal(item["usd"]) for item in items), Decimal(0))
        ended = Counter(each.reply["status"] for each in mine if each.reply)
        lines.append(
            f"{policy}: {len(mine)} accepted, {dict(ended)}, {len(calls)} calls; booked ${booked}, "
            f"invoiced ${billed}"
        )
    return "\n".join(lines)


def _left(clients: Sequence[Leaver]) -> Counter[str]:
    return Counter(each.point.value if each.dropped else "never: the stream ended first" for each in clients)


def main() -> int:
    """Run it, print the figures, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=40, help="clients at a time")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of Headrace")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        system = System(Path(folder), workers=options.workers)
        try:
            system.start()
            return asyncio.run(_measure(system, options))
        finally:
            system.stop()


async def _measure(system: System, options: argparse.Namespace) -> int:
    since = datetime.now(UTC).isoformat()
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{system.simulator_control}/behaviour", json=BEHAVIOUR) as response,
    ):
        response.raise_for_status()
    clients = leavers(options.clients, options.seed)
    await Clients(system.endpoints, at_once=options.at_once).run(clients)
    found = await books(system.endpoints, clients)
    audited = await asyncio.to_thread(
        system.headrace,
        *("audit", "--json", "--since", since, "--wait", str(_AUDIT_WAIT_S)),
        timeout_s=_AUDIT_WAIT_S + 60,
        check=False,
    )
    audit = json.loads(audited.stdout)
    figures = audit["figures"]
    replied = sum((Decimal(each.reply["cost_usd"]) for each in clients if each.reply), Decimal(0))
    accepted = sum(each.reply is not None for each in clients)
    print(summary(clients, found))
    wrong = compare(clients, found)
    ledger, rows = figures["ledger_usd"], figures["clickhouse_usd"]
    checks = {
        f"the audit: {audit['verdict']}, {figures['unbooked_calls']} calls unbooked": not audited.returncode,
        f"{accepted} accepted, {figures['accepted']} in the audit": accepted == figures["accepted"],
        f"ledger ${ledger}, ClickHouse ${rows}, replies ${replied}": Decimal(ledger)
        == Decimal(rows)
        == replied,
        f"booked against the invoice, call by call: {len(wrong)} differences": not wrong,
    }
    for what, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {what}")
    print("\n".join(wrong[:20]))
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

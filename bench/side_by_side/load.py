"""The load generator, a process of its own: `python -m bench.side_by_side.load`.

It reads a `Plan` as one line of JSON, sends the warm-up, writes `ready`, waits for a line, sends the load,
and writes an `Outcome` as one line. Without a `trace` users wait for their answer before they ask again
(closed loop). With one, each request is sent when it is due, whatever became of those before it (open loop),
and its latency counts from then.
"""

import asyncio
import itertools
import json
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec
import uvloop

from bench.side_by_side.questions import new_questions, text_of_bytes, text_of_tokens

_MAX_TOKENS = 400
_WARM_UP_USERS = 10
_REQUEST_TIMEOUT_S = 120.0
_SHOWN_CHARS = 80
#: Headrace takes messages of 32,000 characters; longer prompts are conversations.
_MESSAGE_CHARS = 30_000


class Arrival(msgspec.Struct, frozen=True):
    """One request of a trace: when it is due, in seconds from the start, and its tokens."""

    at_s: float
    input_tokens: int
    output_tokens: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where.

    `repeat_share` of the requests ask what was answered before; `large_users` send prompts of `large_bytes`
    for as long as the others ask.
    """

    url: str
    headers: Mapping[str, str]
    model: str
    seed: int
    users: int = 1
    requests: int = 0
    stream: bool = False
    repeat_share: float = 0.0
    large_users: int = 0
    large_bytes: int = 100_000
    trace: Sequence[Arrival] = ()
    warm_up: int = 50
    timeout_s: float = 300.0


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Of a list of times, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, values_s: Sequence[float]) -> "Quantiles":
        """Take them of times in seconds; all 0 where there are none."""
        ordered = sorted(values_s) or [0.0]
        p50, p95, p99 = (1000 * ordered[int((len(ordered) - 1) * share)] for share in (0.5, 0.95, 0.99))
        return cls(count=len(values_s), p50=p50, p95=p95, p99=p99, most=1000 * ordered[-1])


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the users saw; `latency` by the kind of request: `small`, `large`."""

    elapsed_s: float
    answered: int
    failed: Mapping[str, int]
    latency: Mapping[str, Quantiles]
    first_text: Quantiles
    gap: Quantiles
    pieces: float


class Users:
    """Asks, and notes times; `known` are questions that were answered before."""

    def __init__(self, plan: Plan, session: aiohttp.ClientSession, *, known: Sequence[str] = ()) -> None:
        self._plan = plan
        self._session = session
        self._random = random.Random(plan.seed)
        self._latency_s: defaultdict[str, list[float]] = defaultdict(list)
        self._first_s: list[float] = []
        self._gaps_s: list[float] = []
        self._pieces: list[int] = []
        self._failed: Counter[str] = Counter()
        self.known = list(known)

    async def warm_up(self) -> None:
        """Ask some questions."""
        questions = itertools.islice(new_questions(self._plan.seed + 1), self._plan.warm_up)
        await asyncio.gather(*(self._user(questions) for _ in range(_WARM_UP_USERS)))

    async def load(self) -> Outcome:
        """Send the load."""
        elapsed = await (self._replay() if self._plan.trace else self._closed())
        return Outcome(
            elapsed_s=elapsed,
            answered=sum(map(len, self._latency_s.values())),
            failed=self._failed,
            latency={kind: Quantiles.of(each) for kind, each in self._latency_s.items()},
            first_text=Quantiles.of(self._first_s),
            gap=Quantiles.of(self._gaps_s),
            pieces=statistics.fmean(self._pieces) if self._pieces else 0.0,
        )

    async def _closed(self) -> float:
        """Let the users ask; the time until the last small request is answered."""
        begun = time.perf_counter()
        questions = itertools.islice(new_questions(self._plan.seed), self._plan.requests)
        large = [asyncio.create_task(self._large_user(number)) for number in range(self._plan.large_users)]
        try:
            await asyncio.gather(*(self._user(questions) for _ in range(self._plan.users)))
            return time.perf_counter() - begun
        finally:
            for each in large:
                each.cancel()
            await asyncio.gather(*large, return_exceptions=True)

    async def _user(self, questions: Iterator[str]) -> None:
        for question in questions:
            repeats = self.known and self._random.random() < self._plan.repeat_share
            asked = self._random.choice(self.known) if repeats else question
            if await self._ask(asked, "small", max_tokens=_MAX_TOKENS, since=time.perf_counter()):
                self.known.append(asked)

    async def _large_user(self, number: int) -> None:
        for turn in itertools.count():
            text = text_of_bytes(self._plan.large_bytes, self._plan.seed + 1000 * turn + number + 2)
            await self._ask(text, "large", max_tokens=_MAX_TOKENS, since=time.perf_counter())

    async def _replay(self) -> float:
        """Send each request of the trace when it is due."""
        texts = [
            text_of_tokens(arrival.input_tokens, self._plan.seed + number)
            for number, arrival in enumerate(self._plan.trace)
        ]
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for text, arrival in zip(texts, self._plan.trace, strict=True):
                due = begun + arrival.at_s
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._ask(text, "small", max_tokens=arrival.output_tokens, since=due))
        return time.perf_counter() - begun

    async def _ask(self, text: str, kind: str, *, max_tokens: int, since: float) -> bool:
        body = {
            "model": self._plan.model,
            "messages": _messages(text),
            "max_tokens": max_tokens,
            **({"stream": True} if self._plan.stream else {}),
        }
        try:
            async with self._session.post(self._plan.url, json=body, headers=self._plan.headers) as response:
                if response.status != 200:
                    self._failed[f"{response.status}: {(await response.text())[:_SHOWN_CHARS]}"] += 1
                    await asyncio.sleep(0.1)
                    return False
                if self._plan.stream:
                    await self._read_stream(response, since)
                else:
                    await response.read()
        except (aiohttp.ClientError, TimeoutError) as fault:
            self._failed[type(fault).__name__] += 1
            return False
        self._latency_s[kind].append(time.perf_counter() - since)
        return True

    async def _read_stream(self, response: aiohttp.ClientResponse, since: float) -> None:
        at = [time.perf_counter() async for line in response.content if _has_text(line)]
        if at:
            self._first_s.append(at[0] - since)
            self._gaps_s += [later - earlier for earlier, later in itertools.pairwise(at)]
        self._pieces.append(len(at))


def _messages(text: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": text[begin : begin + _MESSAGE_CHARS]}
        for begin in range(0, len(text), _MESSAGE_CHARS)
    ]


def _has_text(line: bytes) -> bool:
    if not line.startswith(b"data: {"):
        return False
    event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    return any(choice["delta"].get("content") for choice in event.get("choices", ()))


async def _run(plan: Plan) -> Outcome:
    timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        first = Users(plan, session)
        async with asyncio.timeout(plan.timeout_s):
            await first.warm_up()
        print("ready", flush=True)
        if not await asyncio.to_thread(sys.stdin.readline):
            sys.exit("nobody waits for the figures any more")
        async with asyncio.timeout(plan.timeout_s):
            return await Users(plan, session, known=first.known).load()


def main() -> None:
    """Read the plan, send it, and write what was seen."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_run(plan))
    print(msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    main()

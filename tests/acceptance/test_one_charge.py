"""One `create()` of an official client is one charge, whatever happens on the way.

The clients of OpenAI and Anthropic, Python and Node, as they come: they repeat what is lost by themselves,
twice, and do not name what they repeat. Each call has a user of its own, by which its rows are found.
"""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.acceptance.conftest import System, wait_for
from tests.acceptance.cut_proxy import CutProxy
from tests.acceptance.test_audit import audit
from tests.acceptance.test_node_client import node_environ, node_modules, program  # noqa: F401  # a fixture

pytestmark = pytest.mark.acceptance

SCRIPT = Path(__file__).parent / "node" / "one_charge.cjs"
GPT, CLAUDE, EMBEDDING = "gpt-4o-mini", "claude-3-5-sonnet", "text-embedding-3-small"
ROUTES = ("chat", "chat_stream", "api_chat", "messages", "messages_stream", "embeddings")
_CHAT_ROUTES = tuple(each for each in ROUTES if each != "embeddings")
_SLOW_MS, _IMPATIENT_S, _PATIENT_S = 5_000, 4.0, 60.0
_AT_ONCE = 20


@dataclass(frozen=True)
class Trouble:
    """What happens on the way of a call.

    `faults` and `answer`: of the provider, for this call. `cut_after`: how much of the first response passes.
    `charges`: how many there must be. `exact`: whether at the price of the invoice: not where a call of the
    provider is cut off. What that costs is an estimate, which the audit compares.
    """

    charges: int = 1
    faults: tuple[dict[str, Any], ...] = ()
    answer: str | None = None
    timeout_s: float = _PATIENT_S
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    exact: bool = True
    routes: tuple[str, ...] = ROUTES


TROUBLES = {
    "nothing": Trouble(),
    "one_500": Trouble(faults=({"kind": "server_error", "next_calls": 1},)),
    "down": Trouble(charges=0, faults=({"kind": "server_error", "rate": 1},)),
    "withheld": Trouble(answer="Sure: run DROP TABLE users; and be done.", routes=_CHAT_ROUTES),
    "cut_off": Trouble(faults=({"kind": "drop", "next_calls": 1, "after_chunks": 3},), exact=False),
    "deadline": Trouble(
        faults=({"kind": "hang", "rate": 1},),
        headers={"X-Headrace-Deadline-Ms": "4000"},
        exact=False,
    ),
    "client_gives_up": Trouble(
        faults=({"kind": "slow", "rate": 1, "latency": {"first_token_ms": _SLOW_MS}},),
        timeout_s=_IMPATIENT_S,
    ),
    "client_gives_up_and_cancels": Trouble(
        faults=({"kind": "slow", "rate": 1, "latency": {"first_token_ms": _SLOW_MS}},),
        timeout_s=_IMPATIENT_S,
        headers={"X-Headrace-On-Disconnect": "cancel"},
        routes=("chat", "messages_stream", "embeddings"),
    ),
    "lost_before_a_byte": Trouble(cut_after=0),
    "lost_midway": Trouble(cut_after=40),
}


@dataclass(frozen=True)
class Call:
    """One `create()`."""

    trouble: str
    route: str
    base: str
    user: str = field(default_factory=lambda: f"one-{uuid.uuid4().hex}")

    @property
    def rules(self) -> Trouble:
        return TROUBLES[self.trouble]

    @property
    def prompt(self) -> str:
        return f"Tell me all about canals: {self.user}"

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Headrace-User": self.user} | self.rules.headers


@pytest.fixture
def calls(healthy: System) -> Iterator[list[Call]]:
    """Every route with every trouble, and a provider that behaves accordingly."""
    proxies: list[CutProxy] = []

    def base(trouble: Trouble) -> str:
        if trouble.cut_after is None:
            return healthy.endpoints.ingest
        proxies.append(CutProxy(healthy.endpoints.ingest, cut_after=trouble.cut_after))
        return proxies[-1].url

    found = [
        Call(name, route, base(trouble)) for name, trouble in TROUBLES.items() for route in trouble.routes
    ]
    healthy.behave(
        faults=[fault | {"prompt_contains": each.user} for each in found for fault in each.rules.faults],
        answers=[
            {"prompt_contains": each.user, "text": each.rules.answer} for each in found if each.rules.answer
        ],
    )
    yield found
    for proxy in proxies:
        proxy.close()


@dataclass
class Books:
    """What a call came to: its rows, its provider calls, and what the provider billed for these."""

    rows: list[dict[str, Any]]
    booked: list[str]
    billed: list[Decimal]

    def faults(self, call: Call) -> list[str]:
        """Everything that is not one charge at the price of the invoice."""
        rules, found = call.rules, []
        charged = [amount for row in self.rows if (amount := Decimal(row["cost_usd"]))]
        billed = [amount for amount in self.billed if amount]
        if len(charged) != rules.charges:
            found.append(f"{len(charged)} charges, not {rules.charges}")
        if rules.exact and len(billed) != rules.charges:
            found.append(f"{len(billed)} billed calls, not {rules.charges}")
        if rules.exact and sum(charged) != sum(billed):
            found.append(f"booked {charged}, billed {billed}")
        return found


def books_of(system: System, call: Call, invoice: dict[str, Decimal]) -> Books:
    """Read them once every request of the call has ended."""
    rows = system.sql(
        "SELECT request_id, cost_usd, status, error_code FROM requests WHERE user_id = {u:String}",
        u=call.user,
    )
    booked = [
        row["call_id"]
        for row in system.sql(
            "SELECT call_id FROM llm_calls WHERE request_id IN "
            "(SELECT request_id FROM requests WHERE user_id = {u:String})",
            u=call.user,
        )
    ]
    return Books(rows, booked, [invoice[each] for each in booked if each in invoice])


def judge(system: System, calls: list[Call], outcomes: list[str], since: str) -> None:
    """Find one charge for each call; and an audit that balances, so that nothing else was billed."""
    report = audit(system, since, "--wait", "60")[1]
    assert report["verdict"] == "balanced", report["findings"]
    wait_for(lambda: all(books_of(system, each, {}).rows for each in calls), 30)
    invoice = {item["client_request_id"]: Decimal(item["usd"]) for item in system.invoice()["items"]}
    wrong = []
    for call, outcome in zip(calls, outcomes, strict=True):
        books = books_of(system, call, invoice)
        wrong += [
            f"{call.trouble}/{call.route}: {fault} ({outcome}; {books.rows})" for fault in books.faults(call)
        ]
    assert not wrong, "\n".join(wrong)


def now() -> str:
    return datetime.now(UTC).isoformat()


def python_openai(call: Call, key: str) -> str:
    prefix = "/api/v1" if call.route == "api_chat" else "/v1"
    with openai.OpenAI(api_key=key, base_url=call.base + prefix, timeout=call.rules.timeout_s) as sdk:
        if call.route == "embeddings":
            found = sdk.embeddings.create(model=EMBEDDING, input=call.prompt, extra_headers=call.headers)
            return f"{len(found.data)} vectors"
        turns: Any = [{"role": "user", "content": call.prompt}]
        if call.route == "chat_stream":
            chunks = sdk.chat.completions.create(
                model=GPT, messages=turns, stream=True, extra_headers=call.headers
            )
            return "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
        whole = sdk.chat.completions.create(model=GPT, messages=turns, extra_headers=call.headers)
        return whole.choices[0].message.content or ""


def python_anthropic(call: Call, key: str) -> str:
    turns: Any = [{"role": "user", "content": call.prompt}]
    with anthropic.Anthropic(api_key=key, base_url=call.base, timeout=call.rules.timeout_s) as sdk:
        given: dict[str, Any] = {
            "model": CLAUDE,
            "max_tokens": 300,
            "messages": turns,
            "extra_headers": call.headers,
        }
        if call.route == "messages_stream":
            return "".join(str(each.type) for each in sdk.messages.create(**given, stream=True))
        found = sdk.messages.create(**given)
        return "".join(getattr(each, "text", "") for each in found.content)


def outcome_of(make: Callable[[Call, str], str], call: Call, key: str) -> str:
    """Return the text, or the exception that the client's user sees."""
    try:
        return make(call, key)[:60]
    except Exception as fault:  # noqa: BLE001  # whatever it is, its user sees it
        return f"{type(fault).__name__}: {fault}"[:200]


def test_python_clients(healthy: System, calls: list[Call]) -> None:
    """Both, on every route, with every trouble."""
    since, key = now(), healthy.endpoints.api_key

    def run(call: Call) -> str:
        make = python_anthropic if call.route.startswith("messages") else python_openai
        return outcome_of(make, call, key)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = list(pool.map(run, calls))
    judge(healthy, calls, outcomes, since)
    for trouble in ("client_gives_up", "client_gives_up_and_cancels"):  # the answer to the repeat
        assert not [o for c, o in zip(calls, outcomes, strict=True) if c.trouble == trouble and "Error" in o]
    by_case = {(call.trouble, call.route): outcome for call, outcome in zip(calls, outcomes, strict=True)}
    for route in ("chat", "messages"):  # the answer arrives, however often it got lost
        for trouble in ("nothing", "one_500", "client_gives_up", "lost_before_a_byte", "lost_midway"):
            assert "Error" not in by_case[trouble, route], by_case


def test_node_clients(
    healthy: System,
    calls: list[Call],
    node_modules: Path,  # noqa: F811  # the fixture
) -> None:
    """Both, on every route, with every trouble."""
    since = now()
    given = [
        asdict(each)
        | {
            "prompt": each.prompt,
            "headers": each.headers,
            "timeout": each.rules.timeout_s * 1000,
            "models": {"chat": GPT, "messages": CLAUDE, "embeddings": EMBEDDING},
        }
        for each in calls
    ]
    result = subprocess.run(
        [program("node"), str(SCRIPT), healthy.endpoints.api_key, str(_AT_ONCE)],
        input=json.dumps(given),
        env=node_environ(node_modules),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    judge(healthy, calls, json.loads(result.stdout), since)

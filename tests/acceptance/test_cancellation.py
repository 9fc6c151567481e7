"""Requests that are cancelled: what is stopped, what is booked. Clients that leave: `test_disconnects`."""

import asyncio
import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

from agents.stores.journal import journal_key
from tests.acceptance.chat import STORY
from tests.acceptance.conftest import System, running, unique, wait_for

pytestmark = pytest.mark.acceptance

GPT_4O_INPUT_USD = Decimal("0.0000025")
GPT_4O_OUTPUT_USD = Decimal("0.00001")
#: What was on its way when a connection was closed is billed, and read by nobody: on a busy machine so much.
ON_ITS_WAY_S = 1.0


def submit(system: System, **fields: Any) -> str:
    """Send a request that nobody waits for."""
    body = {"query": unique("Why is the sky blue?"), "user_id": "acceptance", **fields}
    response = system.http.post("/v1/requests", json=body)
    assert response.status_code == 202, response.text
    return str(response.json()["request_id"])


def reply(system: System, request_id: str, *, timeout_s: float = 20) -> dict[str, Any]:
    """Return a request's reply, waiting for it."""

    def fetch() -> dict[str, Any] | None:
        found: dict[str, Any] = system.http.get(f"/v1/requests/{request_id}").json()
        return found if "cost_usd" in found else None

    found = wait_for(fetch, timeout_s)
    assert found, f"{request_id} has no reply"
    return dict(found)


def booked(system: System, request_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Return the calls of these requests as they were booked, by their ids, once all have their rows."""
    names = ",".join(f"'{each}'" for each in request_ids)
    where = f"WHERE request_id IN ({names})"
    rows = wait_for(
        lambda: system.sql(f"SELECT count() AS rows FROM requests {where} HAVING rows = {len(request_ids)}"),
        20,
    )
    assert rows, "not every request has its row"
    calls = system.sql(f"SELECT call_id, error, cost_usd, output_tokens FROM llm_calls {where}")
    by_id = {str(call["call_id"]): call for call in calls}
    assert len(by_id) == len(calls), "a call is booked twice"
    spent = system.sql(f"SELECT sum(cost_usd) AS usd FROM requests {where}")[0]["usd"]
    assert Decimal(spent) == sum(Decimal(call["cost_usd"]) for call in calls)
    return by_id


def billed(system: System) -> dict[str, dict[str, Any]]:
    """Return the provider's items, by our ids of the calls."""
    return {item["client_request_id"]: item for item in system.invoice()["items"]}


def on_its_way_usd(tokens_per_second: float) -> Decimal:
    """Return what a provider may bill of a stream that was cut off beyond what we know of."""
    return int(tokens_per_second * ON_ITS_WAY_S) * GPT_4O_OUTPUT_USD


def unseen_usd(item: dict[str, Any], call: dict[str, Any]) -> Decimal:
    """Return what the provider billed of a call beyond what we know of."""
    return Decimal(item["usd"]) - Decimal(call["cost_usd"])


@contextmanager
def suspended_workers(system: System) -> Iterator[None]:
    """Stop the workers where they are; let them go on at the end."""
    status = json.loads((system.data_dir / "status.json").read_bytes())
    pids = [each["pid"] for each in status["processes"] if each["role"].startswith("worker")]
    assert pids
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("begun", [True, False], ids=["answer_begun", "before_the_first_token"])
def test_cancelling_a_request_stops_its_call_and_books_what_it_spent(
    healthy: System, stream: bool, begun: bool
) -> None:
    """The provider is told at once, the reply says `cancelled`, and reply, row and invoice agree.

    Of an answer that would have come whole only the prompt is known to be spent.
    """
    healthy.behave(
        latency={"first_token_ms": 500 if begun else 20_000, "tokens_per_second": 2},
        answers=[{"text": STORY}],
    )
    before = billed(healthy)
    request_id = submit(healthy, stream=stream)
    assert wait_for(lambda: journal_key(request_id) in running(healthy), 20)
    time.sleep(2.5)
    for _ in range(2):
        response = healthy.http.delete(f"/v1/requests/{request_id}")
        assert response.status_code in {200, 202}, response.text
    ended = reply(healthy, request_id, timeout_s=20)
    assert (ended["status"], ended["error"]["code"]) == ("cancelled", "request_cancelled")
    (call,) = booked(healthy, [request_id]).values()
    (item,) = wait_for(lambda: [i for key, i in billed(healthy).items() if key not in before], 20)
    row = healthy.row(request_id)
    assert (item["status"], item["client_request_id"]) == ("cancelled", call["call_id"])
    assert (row["status"], row["error_code"], call["error"]) == (
        "cancelled",
        "request_cancelled",
        "cancelled",
    )
    assert Decimal(str(ended["cost_usd"])) == Decimal(row["cost_usd"]) > 0
    if stream or not begun:
        assert 0 <= unseen_usd(item, call) <= on_its_way_usd(5)
        assert (int(call["output_tokens"]) > 0) == begun
    else:
        assert Decimal(call["cost_usd"]) == item["input_tokens"] * GPT_4O_INPUT_USD
    assert healthy.http.delete(f"/v1/requests/{request_id}").json()["status"] == "cancelled"


def test_a_request_cancelled_in_the_queue_is_never_begun(healthy: System) -> None:
    """The workers stand still while it is sent and cancelled: no call, no cost, and a reply."""
    calls = healthy.invoice()["calls"]
    with suspended_workers(healthy):
        request_ids = [submit(healthy) for _ in range(5)]
        for request_id in request_ids:
            assert healthy.http.delete(f"/v1/requests/{request_id}").status_code == 202
            assert healthy.http.get(f"/v1/requests/{request_id}").json()["status"] == "cancelling"
    replies = [reply(healthy, request_id) for request_id in request_ids]
    assert [(each["status"], each["cost_usd"]) for each in replies] == [("cancelled", 0)] * 5
    assert healthy.invoice()["calls"] == calls


def test_who_waits_for_a_cancelled_request_is_told(healthy: System) -> None:
    """409: it was ended by somebody else, and trying again under its key would not help."""
    healthy.behave(latency={"first_token_ms": 20_000})
    key = uuid.uuid4().hex

    async def wait_and_cancel() -> httpx.Response:
        headers = dict(healthy.http.headers) | {"idempotency-key": key}
        async with httpx.AsyncClient(base_url=healthy.endpoints.ingest, headers=headers, timeout=30) as http:
            body = {"query": unique("Why?"), "user_id": "acceptance"}
            waiting = asyncio.create_task(http.post("/v1/chat", json=body))
            await asyncio.sleep(1)
            request_id = (await http.post("/v1/requests", json=body)).json()["request_id"]
            assert (await http.delete(f"/v1/requests/{request_id}")).status_code == 202
            return await waiting

    response = asyncio.run(wait_and_cancel())
    assert (response.status_code, response.json()["error"]["code"]) == (409, "request_cancelled")

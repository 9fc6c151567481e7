"""Batches on the running system: every line answered and paid for once, whatever happens meanwhile."""

import json
import threading
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest
import redis

from ingest.batches.batch import batch_id_for
from tests import parts
from tests.acceptance.conftest import System, headrace, wait_for

pytestmark = pytest.mark.acceptance

_ENDED_S = 150.0
_ROWS_S = 30.0


def jsonl(count: int, user: str) -> bytes:
    """A file of questions that nothing has answered before, in both formats."""
    return b"".join(json.dumps(line(number, user)).encode() + b"\n" for number in range(count))


def line(number: int, user: str) -> dict[str, Any]:
    question = f"What does gear {uuid.uuid5(uuid.NAMESPACE_OID, f'{user}{number}').hex} do?"
    if number % 4:
        # A session of its own keeps each from being answered out of another's cache.
        body: dict[str, Any] = {"query": question, "user_id": user, "session_id": f"{user}-{number}"}
        url = "/v1/requests"
    else:
        body = {"messages": [{"role": "user", "content": question}], "user": user, "model": "gpt-4o-mini"}
        url = "/v1/chat/completions"
    return {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body}


def send(system: System, data: bytes, key: str) -> httpx.Response:
    headers = {"Content-Type": "application/jsonl", "Idempotency-Key": key}
    return system.http.post("/v1/batches", content=data, headers=headers, timeout=_ENDED_S)


def ended(system: System, url: str) -> dict[str, Any] | None:
    """The batch, once every line has ended."""
    body: dict[str, Any] = system.http.get(url).json()
    return body if body["status"] == "completed" else None


def results(system: System, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """The results; money is exact."""
    response = system.http.get(batch["results_url"])
    assert response.status_code == 200, response.text
    return [json.loads(each, parse_float=Decimal, parse_int=Decimal) for each in response.text.splitlines()]


def cost(result: dict[str, Any]) -> Decimal:
    """What a line cost, as its own format says it."""
    body = result["response"]["body"]
    return Decimal(body.get("headrace", body)["cost_usd"])


def text(result: dict[str, Any]) -> str:
    """What a line was answered."""
    body = result["response"]["body"]
    return str(body["content"] if "content" in body else body["choices"][0]["message"]["content"])


def rows(system: System, user: str) -> list[dict[str, Any]]:
    query = "SELECT request_id, cost_usd FROM requests WHERE user_id = {user:String}"
    return system.sql(query, user=user)


def assert_answered_and_charged_once(system: System, batch: dict[str, Any], user: str, count: int) -> None:
    """Every line has an answer, in order; reply, row and the provider's invoice say the same amount."""
    read = results(system, batch)
    assert [each["custom_id"] for each in read] == [f"line-{number}" for number in range(count)]
    assert {each["response"]["status_code"] for each in read} == {200}
    assert all(text(each) for each in read)
    costs = {each["response"]["request_id"]: cost(each) for each in read}
    wait_for(lambda: len(rows(system, user)) >= count, _ROWS_S)
    stored = rows(system, user)
    assert len(stored) == count
    assert {row["request_id"]: Decimal(row["cost_usd"]) for row in stored} == costs
    calls = system.sql(
        "SELECT call_id, cost_usd FROM llm_calls WHERE request_id IN "
        "(SELECT request_id FROM requests WHERE user_id = {user:String})",
        user=user,
    )
    billed = {item["client_request_id"]: Decimal(item["usd"]) for item in system.invoice()["items"]}
    assert sum(billed[call["call_id"]] for call in calls) == sum(costs.values())


def test_a_batch_is_answered_in_order_and_costs_what_it_cost(healthy: System) -> None:
    """80 lines; the same batch again is the same batch: no call, no row, the same results."""
    user, key = f"batch-{uuid.uuid4().hex}", uuid.uuid4().hex
    data = jsonl(80, user)
    accepted = send(healthy, data, key)
    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["request_counts"]["total"] == 80
    batch = wait_for(lambda: ended(healthy, accepted.json()["url"]), _ENDED_S)
    assert batch["request_counts"] == {"total": 80, "completed": 80, "failed": 0}
    assert_answered_and_charged_once(healthy, batch, user, 80)
    url = f"{healthy.endpoints.ingest}/v1"
    with openai.OpenAI(base_url=url, api_key=healthy.endpoints.api_key) as client:
        seen = client.batches.retrieve(batch["id"])
        assert seen.request_counts is not None
        assert (seen.status, seen.request_counts.completed) == ("completed", 80)
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(batch["id"])

    calls, read = healthy.invoice()["calls"], results(healthy, batch)
    again = send(healthy, data, key)
    assert (again.status_code, again.json()) == (202, batch)
    assert results(healthy, batch) == read
    assert healthy.invoice()["calls"] == calls
    assert send(healthy, jsonl(81, user), key).status_code == 409


def test_the_same_batch_twice_at_once(healthy: System) -> None:
    """A client that gave up too early and sends again: both are told the same, each line is asked once."""
    user, key = f"twice-{uuid.uuid4().hex}", uuid.uuid4().hex
    data = jsonl(120, user)
    first, second = _Sending(healthy, data, key), _Sending(healthy, data, key)
    first.join()
    second.join()
    assert first.batch["id"] == second.batch["id"]
    batch = wait_for(lambda: ended(healthy, first.batch["url"]), _ENDED_S)
    assert_answered_and_charged_once(healthy, batch, user, 120)


@pytest.mark.skipif(parts.source()[0] != "embedded", reason="the supervisor must start ingest again")
@pytest.mark.timeout(600)
def test_ingest_is_killed_while_it_takes_a_batch(healthy: System) -> None:
    """`kill -9` midway, and the batch again: one answer and one charge a line, and the books balance."""
    since, count = datetime.now(UTC).isoformat(), 1_000
    user, key = f"killed-{uuid.uuid4().hex}", uuid.uuid4().hex
    data = jsonl(count, user)
    url = f"/v1/batches/{batch_id_for('default', key)}"
    with redis.Redis.from_url(healthy.endpoints.redis) as store:
        before = store.dbsize()
        sending = _Sending(healthy, data, key)
        # Each line has a key: some are in, most are not. Ingest would tell too, but not until it is over.
        assert wait_for(lambda: store.dbsize() > before + 100, 60)
    healthy.kill("ingest")
    sending.join()
    assert wait_for(lambda: ready(healthy), 60)
    assert sending.broken, "it was faster than the kill: make the batch bigger"
    halfway = healthy.http.get(url).json()
    assert halfway["status"] == "validating"
    again = send(healthy, data, key)
    assert (again.status_code, again.json()["url"]) == (202, url), again.text
    batch = wait_for(lambda: ended(healthy, url), 400)
    assert batch["request_counts"] == {"total": count, "completed": count, "failed": 0}
    assert_answered_and_charged_once(healthy, batch, user, count)
    report = json.loads(
        headrace("audit", "--json", "--since", since, "--wait", "60", data_dir=healthy.data_dir)
    )
    assert report["figures"]["accepted"] == count
    assert report["verdict"] == "balanced"


def test_a_cancelled_batch_ends_and_says_what_was_spent(healthy: System) -> None:
    """What has not begun costs nothing; every line has a result, and the rows agree with them."""
    healthy.behave(latency={"first_token_ms": 3_000})
    user = f"cancelled-{uuid.uuid4().hex}"
    batch = send(healthy, jsonl(200, user), uuid.uuid4().hex).json()
    assert healthy.http.get(batch["results_url"]).status_code == 409
    cancelling = healthy.http.post(f"{batch['url']}/cancel")
    assert cancelling.json()["status"] in ("cancelling", "cancelled"), cancelling.text
    done = wait_for(lambda: cancelled(healthy, batch["url"]), _ENDED_S)
    counts = done["request_counts"]
    assert counts["completed"] + counts["failed"] == counts["total"] == 200
    assert counts["failed"] > 0
    read = results(healthy, batch)
    assert {each["error"]["code"] for each in read if each["error"]} == {"request_cancelled"}
    assert len(read) == 200


def cancelled(system: System, url: str) -> dict[str, Any] | None:
    """The batch, once nothing of it is open."""
    body: dict[str, Any] = system.http.get(url).json()
    return body if body["status"] == "cancelled" else None


class _Sending(threading.Thread):
    """Sends a batch beside whatever else happens."""

    def __init__(self, system: System, data: bytes, key: str) -> None:
        super().__init__(daemon=True)
        self._system = system
        self._data = data
        self._key = key
        self.broken = False
        self.batch: dict[str, Any] = {}
        self.start()

    def run(self) -> None:
        try:
            self.batch = send(self._system, self._data, self._key).json()
        except httpx.TransportError:
            self.broken = True


def ready(system: System) -> bool:
    """Whether ingest serves."""
    try:
        return httpx.get(f"{system.endpoints.ingest}/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False

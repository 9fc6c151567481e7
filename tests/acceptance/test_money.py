"""Money in the running system: what providers report, or fail to report, is booked at its right price."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import System, run_headrace, unique, wait_for
from tests.acceptance.raw_answers import EVENTS, JSON, events, raw, whole
from tests.acceptance.test_dead_letters import ask as post
from tests.acceptance.test_dead_letters import bury_good_request, dlq, letters, question

pytestmark = pytest.mark.acceptance

SONNET, GPT, MINI = "claude-sonnet-4-20250514", "gpt-4o", "gpt-4o-mini"
LATEST = {
    "input_tokens": 450,
    "cache_creation_input_tokens": 184_457,
    "cache_read_input_tokens": 1_000,
    "output_tokens": 50,
}


@pytest.fixture(autouse=True, scope="module")
def balanced(system: System) -> Any:
    """After all of it the audit balances, the invoice judged call by call."""
    since = (datetime.now(UTC) - timedelta(milliseconds=1)).isoformat()
    yield
    system.behave_well()
    result = run_headrace("audit", "--since", since, "--wait", "60", "--json", data_dir=system.data_dir)
    report = json.loads(result.stdout)
    assert (result.returncode, report["verdict"]) == (0, "balanced"), report["findings"]


def message(usage: dict[str, Any], text: str = "Right.") -> bytes:
    content = [{"type": "text", "text": text}]
    return whole(
        {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": SONNET,
            "content": content,
            "stop_reason": "end_turn",
            "usage": usage,
        }
    )


def message_events(begun: dict[str, Any], ended: dict[str, Any]) -> list[bytes]:
    start = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": SONNET,
        "content": [],
        "usage": begun,
    }
    return events(
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Right."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
        {"type": "message_stop"},
    )


def completion(usage: Any, model: str = GPT, **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Right."}, "finish_reason": "stop"}
    return whole(
        {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage} | more
    )


def completion_events(usage: Any, model: str = GPT, **more: Any) -> list[bytes]:
    head = {"id": "c", "object": "chat.completion.chunk", "model": model} | more
    choice = {"index": 0, "delta": {"role": "assistant", "content": "Right."}, "finish_reason": "stop"}
    return events(head | {"choices": [choice]}, head | {"choices": [], "usage": usage}, "[DONE]")


def ask(
    system: System, answer: list[bytes], *, model: str, bill: dict[str, Any], **fields: Any
) -> dict[str, Any]:
    """Ask once, with the provider answering these bytes; return the row, as the last of all books."""
    marker = uuid.uuid4().hex
    kind = EVENTS if len(answer) > 1 else JSON
    system.behave(raw_answers=[raw(marker, *answer, content_type=kind, bill=bill)])
    reply = system.chat(f"What is right? {marker}", model=model, stream=kind == EVENTS, **fields)
    assert reply.status_code == 200, reply.text
    request_id = reply.headers["x-request-id"]
    row = system.row(request_id)
    assert row["status"] == "answered"
    return row


@pytest.mark.parametrize("stream", [False, True])
def test_cache_writes_are_booked_at_their_price(healthy: System, stream: bool) -> None:
    """Six tokens sent, 159,217 written to the cache, 2,745 answered: 0.63825675, whole and streamed."""
    usage = {"input_tokens": 6, "cache_creation_input_tokens": 159_217, "output_tokens": 2_745}
    answer = message_events(usage, {"output_tokens": 2_745}) if stream else [message(usage)]
    bill = {"input_tokens": 159_223, "cache_write_tokens": 159_217, "output_tokens": 2_745}
    row = ask(healthy, answer, model=SONNET, bill=bill)
    assert Decimal(row["cost_usd"]) == Decimal("0.63825675")
    assert (row["cache_write_tokens"], row["usage_estimated"]) == (159_217, False)


def test_an_hour_in_the_cache_costs_twice_the_input(healthy: System) -> None:
    """400 tokens for five minutes, 600 for an hour, by the breakdown."""
    kept = {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600}
    usage = {
        "input_tokens": 6,
        "cache_creation_input_tokens": 1_000,
        "cache_creation": kept,
        "output_tokens": 0,
    }
    bill = {"input_tokens": 1_006, "cache_write_tokens": 1_000, "cache_write_1h_tokens": 600}
    assert Decimal(ask(healthy, [message(usage)], model=SONNET, bill=bill)["cost_usd"]) == Decimal("0.005118")


def test_the_last_totals_of_a_stream_count(healthy: System) -> None:
    """Of the input as well."""
    begun = {"input_tokens": 10, "cache_creation_input_tokens": 31_490, "output_tokens": 1}
    bill = {
        "input_tokens": 185_907,
        "cached_tokens": 1_000,
        "cache_write_tokens": 184_457,
        "output_tokens": 50,
    }
    row = ask(healthy, message_events(begun, LATEST), model=SONNET, bill=bill)
    assert (row["input_tokens"], row["cached_tokens"]) == (185_907, 1_000)
    # 450 at 3, 1,000 at 0.30, 184,457 at 3.75, 50 at 15, of a million
    assert Decimal(row["cost_usd"]) == Decimal("0.69411375")


@pytest.mark.parametrize("stream", [False, True])
def test_more_from_the_cache_than_was_sent_is_not_believed(healthy: System, stream: bool) -> None:
    """Ten tokens of which fifty are cached: ten are booked, at the full price, and marked."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 50}}
    answer = completion_events(usage) if stream else [completion(usage)]
    row = ask(healthy, answer, model=GPT, bill={"input_tokens": 10, "output_tokens": 5})
    assert (row["input_tokens"], row["cached_tokens"], row["usage_estimated"]) == (10, 0, True)
    assert Decimal(row["cost_usd"]) == Decimal("0.000075")
    worker = f"http://127.0.0.1:{healthy.process('worker-0').port}/metrics"
    counted = [line.rpartition(" ") for line in httpx.get(worker, timeout=30).text.splitlines()]
    assert {name: float(number) for name, _, number in counted if "#" not in name}[
        'headrace_calls_estimated_total{model="gpt-4o"}'
    ] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_zeros_are_no_usage(healthy: System, stream: bool) -> None:
    """Some servers fill in what they do not count; the answer was booked as free."""
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    answer = completion_events(usage) if stream else [completion(usage)]
    row = ask(healthy, answer, model=GPT, bill={"input_tokens": 40, "output_tokens": 2})
    assert (row["input_tokens"] > 0, row["usage_estimated"]) == (True, True)
    assert Decimal(row["cost_usd"]) > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_tier_is_booked_at_its_price(healthy: System, stream: bool) -> None:
    """By what the answer says: flex is half."""
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100}
    make = completion_events if stream else lambda *a, **k: [completion(*a, **k)]
    answer = make(usage, service_tier="flex")
    bill = {"input_tokens": 1_000, "output_tokens": 100, "service_tier": "flex"}
    row = ask(healthy, answer, model=GPT, bill=bill)
    assert (row["service_tier"], Decimal(row["cost_usd"])) == ("flex", Decimal("0.00175"))


def test_a_long_prompt_makes_the_whole_call_dearer(healthy: System) -> None:
    """Above 200,000 tokens of Sonnet: input twice, output one and a half times."""
    usage = {"input_tokens": 250_000, "output_tokens": 1_000, "service_tier": "standard"}
    bill = {"input_tokens": 250_000, "output_tokens": 1_000}
    row = ask(healthy, [message(usage)], model=SONNET, bill=bill)
    assert (row["long_context"], Decimal(row["cost_usd"])) == (True, Decimal("1.5225"))


def test_the_reply_tells_usage_tier_and_estimate_in_both_protocols(healthy: System) -> None:
    """As each protocol spells them."""
    marker = uuid.uuid4().hex
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": -1}}
    answer = raw(
        marker,
        completion(usage, service_tier="priority"),
        content_type=JSON,
        bill={"input_tokens": 1_000, "output_tokens": 100, "service_tier": "priority"},
    )
    healthy.behave(raw_answers=[answer])
    ask_for = {"model": GPT, "messages": [{"role": "user", "content": f"openai {marker}"}]}
    told = healthy.http.post("/v1/chat/completions", json=ask_for).json()
    assert (told["service_tier"], told["headrace"]["usage_estimated"]) == ("priority", True)
    assert told["usage"]["prompt_tokens"] == 1_000
    ask_for = {
        "model": GPT,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": f"anthropic {marker}"}],
    }
    told = healthy.http.post("/v1/messages", json=ask_for).json()
    assert (told["usage"]["service_tier"], told["usage"]["input_tokens"]) == ("priority", 1_000)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_cut_off_by_its_deadline_is_booked_however_it_was_asked_for(
    healthy: System, stream: bool
) -> None:
    """The invoice has the prompt of the whole answer as of the streamed one, and so have the books."""
    slow = {"first_token_ms": 20_000} if not stream else {"tokens_per_second": 0.5}
    healthy.behave(latency=slow)
    reply = healthy.chat(unique("What takes long?"), model=MINI, stream=stream, deadline_ms=3_000)
    request_id = reply.headers["x-request-id"]
    row = healthy.row(request_id)
    assert row["status"] in ("failed", "degraded")
    assert row["usage_estimated"]
    calls = healthy.sql("SELECT * FROM llm_calls WHERE request_id = {id:String}", id=request_id)
    assert calls
    assert all(call["input_tokens"] > 0 and Decimal(call["cost_usd"]) > 0 for call in calls)
    billed = {item["client_request_id"]: item for item in healthy.invoice()["items"]}
    known = [call for call in calls if call["call_id"] in billed]
    assert all(call["input_tokens"] == billed[call["call_id"]]["input_tokens"] for call in known)


def test_embeddings_that_are_cut_off_are_booked(healthy: System) -> None:
    """Their texts were sent, and may be billed."""
    healthy.behave(latency={"first_token_ms": 20_000})
    body = {"model": "text-embedding-3-small", "input": unique("What is far away?")}
    reply = healthy.http.post("/v1/embeddings", json=body, headers={"X-Headrace-Deadline-Ms": "3000"})
    row = healthy.row(reply.headers["x-request-id"])
    assert (row["status"], row["usage_estimated"], row["input_tokens"] > 0) == ("failed", True, True)
    assert Decimal(row["cost_usd"]) > 0


@pytest.mark.parametrize("kind", ["rate_limit", "server_error", "overloaded"])
def test_what_is_refused_costs_nothing(healthy: System, kind: str) -> None:
    """A status that says no is no bill."""
    healthy.behave(faults=[{"kind": kind, "rate": 1}])
    reply = healthy.chat(unique("Who refuses?"), model=MINI, deadline_ms=4_000)
    row = healthy.row(reply.headers["x-request-id"])
    assert (Decimal(row["cost_usd"]), row["usage_estimated"]) == (0, False)


def test_cache_writes_have_a_column_of_their_own(healthy: System) -> None:
    """In the split of costs, where nothing of them is left over."""
    usage = {"input_tokens": 6, "cache_creation_input_tokens": 1_000, "output_tokens": 20}
    bill = {"input_tokens": 1_006, "cache_write_tokens": 1_000, "output_tokens": 20}
    ask(healthy, [message(usage)], model=SONNET, bill=bill)
    split = run_headrace(
        "report", "cost_split", "--since", "1h", "--format", "json", data_dir=healthy.data_dir
    )
    assert split.returncode == 0, split.stderr
    rows = {row["model"]: row for row in json.loads(split.stdout)}
    assert Decimal(rows[SONNET]["cache_write_cost_usd"]) > 0
    assert Decimal(rows[SONNET]["other_cost_usd"]) == 0


def test_a_replay_asks_before_it_pays_again(healthy: System) -> None:
    """A dead letter whose request was charged is refused with the amount; `--pay-again` would replay it."""
    request_id = uuid.uuid4().hex
    body = question(request_id)
    post(healthy, request_id, body)
    cost = Decimal(healthy.row(request_id)["cost_usd"])
    assert cost > 0
    bury_good_request(healthy, request_id, body)
    (letter,) = wait_for(lambda: letters(healthy, request_id), 30)
    (refused,) = dlq(healthy, "replay", letter["id"], code=1)["results"]
    assert (refused["outcome"], f"{cost.normalize():f} USD" in refused["detail"]) == ("refused", True)
    (agreed,) = dlq(healthy, "replay", letter["id"], "--pay-again", "--dry-run")["results"]
    assert agreed["outcome"] == "would_replay"

"""A failure is not an answer for ever: the same key again, after an outage of the providers."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import System, unique, wait_for
from tests.acceptance.test_audit import audit

pytestmark = pytest.mark.acceptance

DOWN = {"kind": "server_error", "rate": 1}
PATHS = ("/v1/chat", "/v1/chat/completions", "/v1/messages", "/v1/embeddings")
OPENAI, ANTHROPIC = "gpt-4o-mini", "claude-3-5-sonnet"


def body_of(path: str, text: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": text}]
    return {
        "/v1/chat": {"query": text, "user_id": "again"},
        "/v1/chat/completions": {"model": OPENAI, "messages": turns},
        "/v1/messages": {"model": ANTHROPIC, "max_tokens": 99, "messages": turns},
        "/v1/embeddings": {"model": "text-embedding-3-small", "input": text},
    }[path]


def repeat_of(response: httpx.Response) -> bool:
    """What the body says; the header must say the same."""
    body = response.json()
    repeat = body.get("headrace", body.get("error") or body).get("repeat", False)
    assert ("idempotent-replayed" in response.headers) is repeat
    return bool(repeat)


def test_failures_run_anew_once_the_providers_are_back(healthy: System) -> None:
    """On every route. Those who repeat at once share one new run; it is charged once, and is the answer."""
    keys = {path: {"Idempotency-Key": uuid.uuid4().hex} for path in PATHS}
    bodies = {path: body_of(path, unique("Who is there?")) for path in PATHS}

    def send(path: str) -> httpx.Response:
        return healthy.http.post(path, json=bodies[path], headers=keys[path])

    healthy.behave(faults=[DOWN])
    with ThreadPoolExecutor(16) as pool:
        failed = dict(zip(PATHS, pool.map(send, PATHS), strict=True))
        assert [each.status_code for each in failed.values()] == [200, 200, 200, 503]
        healthy.behave_well()
        together = [path for path in PATHS for _ in range(4)]
        repeated = list(zip(together, pool.map(send, together), strict=True))
    for path, before in failed.items():
        found = [response for name, response in repeated if name == path] + [send(path)]
        assert {each.status_code for each in found} == {200}
        assert [repeat_of(each) for each in found].count(False) == 1
        assert repeat_of(found[-1]) is True
        (request_id,) = {each.headers["x-request-id"] for each in found}
        assert request_id != before.headers["x-request-id"]
        assert Decimal(healthy.row(request_id)["cost_usd"]) > 0
        assert Decimal(healthy.row(before.headers["x-request-id"])["cost_usd"]) == 0


def test_what_was_charged_is_given_again(healthy: System) -> None:
    """An answer that was withheld has been paid for: the same key never pays again."""
    marker = uuid.uuid4().hex
    healthy.behave(answers=[{"prompt_contains": marker, "text": "Sure: DROP TABLE users; and be done."}])
    body, headers = body_of("/v1/chat/completions", marker), {"Idempotency-Key": marker}
    first, second = (healthy.http.post("/v1/chat/completions", json=body, headers=headers) for _ in range(2))
    assert first.headers["x-request-id"] == second.headers["x-request-id"]
    assert (repeat_of(first), repeat_of(second)) == (False, True)


def test_lines_of_a_batch_that_failed(healthy: System) -> None:
    """They count as failed, have their errors, and run anew when the batch is sent again."""
    since, down, late = datetime.now(UTC).isoformat(), uuid.uuid4().hex, uuid.uuid4().hex
    healthy.behave(
        faults=[DOWN | {"prompt_contains": down}, {"kind": "hang", "rate": 1, "prompt_contains": late}]
    )
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/requests",
            "body": {"query": unique(f"Line {marker}?"), "user_id": "again", "deadline_ms": deadline_ms},
        }
        for name, marker, deadline_ms in (
            ("good", "", 60_000),
            ("down", down, 60_000),
            ("late", late, 3_000),
            ("gone", "", 1),
        )
    ]
    data = "\n".join(json.dumps(each) for each in lines)

    def send() -> dict[str, Any]:
        headers = {"Idempotency-Key": down, "Content-Type": "application/jsonl"}
        response = healthy.http.post("/v1/batches", content=data, headers=headers)
        assert response.status_code == 202, response.text
        return dict(response.json())

    def ended() -> dict[str, Any]:
        url = f"/v1/batches/{batch['id']}"

        def look() -> Any:
            found = healthy.http.get(url).json()
            counts = found["request_counts"]
            assert counts["completed"] + counts["failed"] + found["requests_in_progress"] == counts["total"]
            return found if found["status"] == "completed" else None

        found = wait_for(look, 60)
        assert found, healthy.http.get(url).text
        return dict(found)

    batch = send()
    assert ended()["request_counts"] == {"total": 4, "completed": 1, "failed": 3}
    errors = [json.loads(each) for each in healthy.http.get(batch["errors_url"]).text.splitlines()]
    assert [each["custom_id"] for each in errors] == ["down", "late", "gone"]
    assert all(each["error"]["message"] for each in errors)
    assert errors[0]["error"]["code"] == "all_models_failed"
    assert errors[2]["error"]["code"] == "deadline_exceeded"
    healthy.behave_well()
    send()
    # The prompt of the late line may have been billed, so it is not paid for again; and a line whose deadline
    # is a millisecond fails whenever it is sent.
    assert ended()["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
    assert audit(healthy, since, "--wait", "60")[1]["verdict"] == "balanced"

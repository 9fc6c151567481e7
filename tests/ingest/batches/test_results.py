"""`GET /v1/batches/{id}/results`: one line a request, in the order in which they were asked."""

import asyncio
import json
from collections.abc import AsyncGenerator, MutableMapping
from decimal import Decimal
from typing import Any

import httpx
import pytest

from ingest.batches.routes import ResultsFile
from streams.events import ErrorInfo, Reply, Status
from streams.registry.registry import RequestState
from tests.ingest.batches.test_lines import CHAT, NATIVE, jsonl, line
from tests.ingest.batches.test_routes import file, send, settle_all
from tests.ingest.fakes import Rig, answered, blocked, failed


async def results(client: httpx.AsyncClient, batch_id: str, query: str = "") -> list[dict[str, Any]]:
    response = await client.get(f"/v1/batches/{batch_id}/results{query}")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/jsonl")
    return [json.loads(each) for each in response.text.splitlines()]


async def test_results_come_in_the_order_of_the_lines(wired: Rig, client: httpx.AsyncClient) -> None:
    """More of them than are read at once; each is what its own route would have answered."""
    batch = (await send(client, file(250))).json()
    settle_all(wired)
    read = await results(client, batch["id"])
    assert [each["custom_id"] for each in read] == [f"line-{number}" for number in range(250)]
    contents = [each["response"]["body"]["choices"][0]["message"]["content"] for each in read]
    assert contents == [f"answer {number}" for number in range(250)]
    last = read[-1]
    assert (last["response"]["status_code"], last["error"]) == (200, None)
    assert last["response"]["body"]["id"] == f"chatcmpl-{last['response']['request_id']}"
    assert last["response"]["body"]["headrace"]["cost_usd"] == 0.0000048
    assert (await client.get(batch["url"])).json()["status"] == "completed"


async def test_results_of_native_lines_are_replies(wired: Rig, client: httpx.AsyncClient) -> None:
    """As `GET /v1/requests/{id}` has them; a file may have both kinds."""
    batch = (await send(client, jsonl(line("a", NATIVE), line("b", CHAT)))).json()
    assert batch["endpoint"] is None
    settle_all(wired, answered(cost_usd=Decimal("0.5")))
    native, chat = await results(client, batch["id"])
    fetched = await client.get(f"/v1/requests/{native['response']['request_id']}")
    assert native["response"]["body"] == fetched.json()
    assert chat["response"]["body"]["object"] == "chat.completion"


async def test_a_line_without_an_answer_has_its_error(wired: Rig, client: httpx.AsyncClient) -> None:
    """With the status and the body that the single route would have answered."""
    batch = (await send(client, file(2))).json()
    settle_all(wired, failed("timeout_error", "deadline_exceeded"), blocked())
    late, stopped = await results(client, batch["id"])
    assert late["error"] == {"code": "deadline_exceeded", "message": "because of deadline_exceeded"}
    assert late["response"]["status_code"] == 504
    assert late["response"]["body"]["error"]["type"] == "timeout_error"
    assert (stopped["error"]["code"], stopped["response"]["status_code"]) == ("content_filter", 400)


async def test_the_error_file_has_what_failed(wired: Rig, client: httpx.AsyncClient) -> None:
    """An apology is no answer, and a line that was never accepted has its error, too."""
    batch = (await send(client, file(4), **{"Idempotency-Key": "nightly"})).json()
    degraded = answered(
        content="I apologize",
        status=Status.DEGRADED,
        error=ErrorInfo(type="api_error", code="x", message="why"),
    )
    settle_all(wired, answered(), degraded, Reply(request_id="r", status=Status.CANCELLED))
    del wired.registry.entries[wired.pipeline.sent[3].key]
    await wired.batches.cancel(batch["id"])
    counts = (await client.get(batch["url"])).json()["request_counts"]
    assert counts == {"total": 4, "completed": 1, "failed": 3}
    response = await client.get(batch["errors_url"])
    told = [json.loads(each) for each in response.text.splitlines()]
    assert [(each["custom_id"], each["error"]["code"]) for each in told] == [
        ("line-1", "all_models_failed"),
        ("line-2", "request_cancelled"),
        ("line-3", "batch_cancelled"),
    ]
    assert (told[0]["response"]["status_code"], told[2]["response"]) == (503, None)
    assert "why" in told[0]["error"]["message"]
    assert "apologize" not in response.text
    assert len(await results(client, batch["id"])) == 4


async def test_results_before_the_end(wired: Rig, client: httpx.AsyncClient) -> None:
    """409, unless one asks for what is there."""
    batch = (await send(client, file(3))).json()
    early = await client.get(batch["results_url"])
    assert (early.status_code, early.json()["error"]["code"]) == (409, "batch_in_progress")
    assert await results(client, batch["id"], "?partial=true") == []
    settle_all(wired)
    wired.registry.entries[wired.pipeline.sent[1].key].reply = None
    assert len(await results(client, batch["id"], "?partial=true")) == 2


async def test_redis_goes_while_results_are_read(wired: Rig, client: httpx.AsyncClient) -> None:
    """The client must not take what it has for the whole: the body does not end."""
    batch = (await send(client, file(150))).json()
    settle_all(wired)
    find_many, calls = wired.registry.find_many, 0

    async def once(request_ids: Any) -> list[RequestState | None]:
        nonlocal calls
        calls += 1
        wired.registry.broken = calls > 1
        return await find_many(request_ids)

    wired.registry.find_many = once  # type: ignore[method-assign]  # it breaks between two pieces
    with pytest.raises(AssertionError):  # so httpx says that the response did not end
        await client.get(batch["results_url"])
    assert calls == 2


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_a_client_that_does_not_read(spec_version: str) -> None:
    """It is given up, and so is the file: nothing goes on being read for it."""
    closed: list[bool] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"{}\n"
        finally:
            closed.append(True)

    async def forever() -> Any:
        await asyncio.Event().wait()

    async def send_piece(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await forever()

    scope = {"type": "http", "asgi": {"spec_version": spec_version}}
    async with asyncio.timeout(10):
        await ResultsFile(pieces(), stalled_s=0.0)(scope, forever, send_piece)
    assert closed == [True]

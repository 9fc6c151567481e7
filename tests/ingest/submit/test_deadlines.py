"""A deadline that passes, on every route that waits: the same 504, with the same `param`."""

from typing import Any

import httpx
import pytest

from ingest.submit import request_reply
from tests.ingest.fakes import MODEL, Rig, failed

CONVERSATION: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "hello"}],
}
HEADER = {"X-Headrace-Deadline-Ms": "1"}
ROUTES = pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/chat", {"query": "hello", "user_id": "ada", "deadline_ms": 1}, {}),
        ("/v1/chat/completions", CONVERSATION, HEADER),
        ("/api/v1/chat/completions", CONVERSATION, HEADER),
        ("/v1/messages", CONVERSATION, HEADER),
    ],
    ids=["native", "openai", "course", "anthropic"],
)


@ROUTES
async def test_a_pipeline_that_says_nothing(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str],
) -> None:
    """Ingest's own clock."""
    monkeypatch.setattr(request_reply, "GRACE_S", 0.0)
    _expect_504(await client.post(path, json=body, headers=headers))


@ROUTES
@pytest.mark.parametrize("param", [None, "deadline_ms"], ids=["in_the_queue", "in_the_llm_stage"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_pipeline_that_says_it(
    *,
    wired: Rig,
    client: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str],
    param: str | None,
    stream: bool,
) -> None:
    """Whichever stage noticed it."""
    wired.pipeline.replies_with(failed("timeout_error", "deadline_exceeded", param=param))
    _expect_504(await client.post(path, json=body | {"stream": stream}, headers=headers))


def _expect_504(response: httpx.Response) -> None:
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (504, "timeout_error")
    assert (error["code"], error["param"]) == ("deadline_exceeded", "deadline_ms")
    assert response.headers["x-should-retry"] == "false"

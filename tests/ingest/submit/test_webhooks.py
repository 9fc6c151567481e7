"""Asking for a webhook: where nobody waits, and where it could be delivered."""

from typing import Any

import httpx
import pytest

from ingest.main import create_app
from streams.events import Webhook
from tests.ingest.fakes import KEY, Rig, rig

SECRET = "whsec_" + "QUJD" * 8
QUESTION = {"user_id": "ada", "query": "capital of France?"}
URL = "https://hooks.example/a?b=c"


async def post(wired: Rig, webhook: Any, path: str = "/v1/requests", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(wired.services))
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as http:
        key = {"Authorization": f"Bearer {KEY}"}
        asked = QUESTION if "completions" not in path else {"messages": [{"role": "user", "content": "hi"}]}
        return await http.post(path, json={**asked, "webhook": webhook}, headers=key | headers)


async def test_it_travels_with_the_request() -> None:
    """To whoever ends it."""
    wired = rig(webhook_secret=SECRET)
    assert (await post(wired, {"url": URL})).status_code == 202
    assert wired.pipeline.sent[0].request.webhook == Webhook(url=URL)


async def test_another_webhook_is_another_body() -> None:
    """Under the same Idempotency-Key it would never be called: the client must know."""
    wired = rig(webhook_secret=SECRET)
    key = {"Idempotency-Key": "order-7"}
    first, same, other = [
        await post(wired, {"url": url}, **key) for url in (URL, URL, "https://elsewhere.example/")
    ]
    assert [each.status_code for each in (first, same, other)] == [202, 202, 409]


@pytest.mark.parametrize(
    ("webhook", "param", "code"),
    [
        ({"url": "http://hooks.example/"}, "webhook.url", "invalid_webhook"),
        ({"url": "https://127.0.0.1/"}, "webhook.url", "invalid_webhook"),
        ({"url": "https://ann:pw@hooks.example/"}, "webhook.url", "invalid_webhook"),
        ({"url": "h" * 2049}, "webhook.url", "invalid_request"),
        ({"url": URL, "secret": "mine"}, "webhook.secret", "unknown_parameter"),
        ({}, "webhook.url", "missing_required_parameter"),
        ("https://hooks.example/", "webhook", "invalid_request"),
    ],
)
async def test_one_that_could_not_be_delivered(webhook: Any, param: str, code: str) -> None:
    """400 that says where; nothing is accepted."""
    wired = rig(webhook_secret=SECRET)
    response = await post(wired, webhook)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert wired.pipeline.sent == []


async def test_without_a_secret_there_are_none() -> None:
    """An unsigned one would be no proof of anything; the message names the setting."""
    error = (await post(rig(), {"url": URL})).json()["error"]
    assert error["code"] == "webhooks_off"
    assert "HEADRACE_WEBHOOK_SECRET" in error["message"]


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/completions", "/api/v1/chat/completions/stream"])
async def test_not_where_somebody_waits(path: str) -> None:
    """Refused by name, with where it goes."""
    response = await post(rig(webhook_secret=SECRET), {"url": URL}, path)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "webhook")
    assert "POST /v1/requests" in error["message"]

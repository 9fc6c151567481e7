"""`POST /v1/feedback`: what is taken, about which requests, and what is published."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from streams.codec import decode, encode, header_text
from streams.events import FeedbackGiven
from tests.ingest.fakes import FEEDBACK_AT, OTHER_KEY, Entry, Rig, answered

ACCEPTED_AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def published(wired: Rig) -> FeedbackGiven:
    """The one record on the topic, read back from its bytes."""
    [emit] = wired.pipeline.feedback
    assert isinstance(emit.value, FeedbackGiven)
    return decode(encode(emit.value), FeedbackGiven)


async def test_a_label_is_a_value(wired: Rig, client: httpx.AsyncClient) -> None:
    """202 once Kafka has it, with the id under which the score can be corrected."""
    wired.registry.settle(answered("r-1", accepted_at=ACCEPTED_AT))
    response = await client.post("/v1/feedback", json={"request_id": "r-1", "label": "up"})
    assert response.status_code == 202
    assert response.headers["x-request-id"] == "r-1"
    body = response.json()
    assert body.pop("score_id")
    assert body == {
        "request_id": "r-1",
        "name": "thumbs",
        "value": 1,
        "label": "up",
        "source": "user",
        "scored_at": "2026-11-21T09:30:00.123456Z",
        "status": "accepted",
    }


async def test_what_is_published(wired: Rig, client: httpx.AsyncClient) -> None:
    """Everything that was said, whose it is, when, and when its request was; keyed by the request."""
    wired.registry.settle(answered("r-1", accepted_at=ACCEPTED_AT))
    said: dict[str, Any] = {
        "request_id": "r-1",
        "name": "helpfulness",
        "value": 0.725,
        "label": "good",
        "comment": "nearly",
        "source": "judge",
        "scorer": "gpt-4o/v3",
        "score_id": "s-1",
    }
    assert (await client.post("/v1/feedback", json=said)).status_code == 202
    assert published(wired) == FeedbackGiven(
        **said | {"value": Decimal("0.725")},
        tenant="acme",
        scored_at=FEEDBACK_AT,
        accepted_at=ACCEPTED_AT,
    )
    [emit] = wired.pipeline.feedback
    assert (emit.topic, emit.key) == ("llm.feedback.v1", "r-1")
    assert header_text(emit.headers, "ce_id") == "r-1:s-1:1795253400123456"
    assert header_text(emit.headers, "ce_type") == "headrace.FeedbackGiven"


@pytest.mark.parametrize("state", ["pending", "running"])
async def test_a_request_that_has_not_ended(wired: Rig, client: httpx.AsyncClient, state: str) -> None:
    """It can be judged while its answer streams; when it was accepted, analytics finds out."""
    wired.registry.entries["r-1"] = Entry("acme", "", "", state)
    response = await client.post("/v1/feedback", json={"request_id": "r-1", "value": 0})
    assert response.status_code == 202
    assert published(wired).accepted_at is None


async def test_a_request_that_the_registry_has_forgotten(wired: Rig, client: httpx.AsyncClient) -> None:
    """ClickHouse knows it for 13 months; Redis need not even answer."""
    wired.stored.requests["acme", "r-1"] = ACCEPTED_AT
    assert (await client.post("/v1/feedback", json={"request_id": "r-1", "value": 1})).status_code == 202
    wired.registry.broken = True
    assert (await client.post("/v1/feedback", json={"request_id": "r-1", "value": 1})).status_code == 202
    for emit in wired.pipeline.feedback:
        assert isinstance(emit.value, FeedbackGiven)
        assert emit.value.accepted_at == ACCEPTED_AT


async def test_an_id_that_two_tenants_have_used(wired: Rig, client: httpx.AsyncClient) -> None:
    """The registry has the other's; one's own is found all the same."""
    wired.registry.settle(answered("r-1", accepted_at=FEEDBACK_AT), tenant="zeta")
    wired.stored.requests["acme", "r-1"] = ACCEPTED_AT
    assert (await client.post("/v1/feedback", json={"request_id": "r-1", "value": 1})).status_code == 202
    assert (published(wired).tenant, published(wired).accepted_at) == ("acme", ACCEPTED_AT)


async def test_only_the_owner_may_judge(wired: Rig, client: httpx.AsyncClient) -> None:
    """Another tenant gets the very answer that it would get for an id that never was; without a key, 401."""
    wired.registry.settle(answered("r-1"))
    wired.stored.requests["acme", "r-1"] = ACCEPTED_AT
    other = {"Authorization": f"Bearer {OTHER_KEY}"}
    theirs = await client.post("/v1/feedback", json={"request_id": "r-1", "value": 1}, headers=other)
    unknown = await client.post("/v1/feedback", json={"request_id": "r-2", "value": 1})
    assert theirs.status_code == unknown.status_code == 404
    errors = [response.json()["error"] for response in (theirs, unknown)]
    assert [error.pop("request_id") for error in errors] == ["r-1", "r-2"]
    assert errors[0] == errors[1]
    assert errors[0]["code"] == "request_not_found"
    del client.headers["Authorization"]
    assert (await client.post("/v1/feedback", json={"request_id": "r-1", "value": 1})).status_code == 401
    assert not wired.pipeline.feedback


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"value": 1}, "request_id"),
        ({"request_id": "a b", "value": 1}, "request_id"),
        ({"request_id": "r-1"}, "value"),
        ({"request_id": "r-1", "label": "meh"}, "value"),
        ({"request_id": "r-1", "value": "much"}, "value"),
        ({"request_id": "r-1", "value": "NaN"}, "value"),
        ({"request_id": "r-1", "value": 1_000_000.000000001}, "value"),
        ({"request_id": "r-1", "value": 1e99}, "value"),
        ({"request_id": "r-1", "value": True}, "value"),
        ({"request_id": "r-1", "value": 1, "name": "a name"}, "name"),
        ({"request_id": "r-1", "value": 1, "name": "thumbs\n"}, "name"),
        ({"request_id": "r-1", "value": 1, "comment": "x" * 4001}, "comment"),
        ({"request_id": "r-1", "value": 1, "source": "oracle"}, "source"),
        ({"request_id": "r-1", "value": 1, "tenant": "zeta"}, "tenant"),
        ({"request_id": "r-1", "value": 1, "score_id": ""}, "score_id"),
    ],
)
async def test_what_is_wrong_is_named(
    wired: Rig, client: httpx.AsyncClient, body: dict[str, Any], param: str
) -> None:
    """400 with the field; nothing is published."""
    wired.registry.settle(answered("r-1"))
    response = await client.post("/v1/feedback", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert not wired.pipeline.feedback


async def test_a_comment_as_long_as_it_may_be(wired: Rig, client: httpx.AsyncClient) -> None:
    """4,000 characters, whatever they take on the way; a body beyond that is not read."""
    wired.registry.settle(answered("r-1"))
    comment = "\N{WATER WAVE}" * 4_000
    body = {"request_id": "r-1", "value": 1, "comment": comment}
    escaped = json.dumps(body).encode()  # twelve bytes a character
    assert (await client.post("/v1/feedback", content=escaped)).status_code == 202
    assert published(wired).comment == comment
    response = await client.post("/v1/feedback", json=body | {"scorer": "x" * 70_000})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("away", ["kafka", "clickhouse", "redis"])
async def test_outages_are_said(wired: Rig, client: httpx.AsyncClient, away: str) -> None:
    """503 with Retry-After: it was not taken, and whether there is such a request is not known."""
    match away:
        case "kafka":
            wired.registry.settle(answered("r-1"))
            wired.pipeline.broken = True
        case "clickhouse":
            wired.stored.broken = True
        case _:
            wired.registry.broken = True
    response = await client.post("/v1/feedback", json={"request_id": "r-1", "value": 1})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert not wired.pipeline.feedback


async def test_the_same_again_has_the_same_id(wired: Rig, client: httpx.AsyncClient) -> None:
    """A change of mind corrects the score; another name, source or scorer gives another one."""
    wired.registry.settle(answered("r-1"))

    async def score_id(**said: object) -> str:
        response = await client.post("/v1/feedback", json={"request_id": "r-1", **said})
        return str(response.json()["score_id"])

    assert await score_id(label="up") == await score_id(label="down", comment="no")
    others = [{"name": "tone"}, {"source": "human"}, {"scorer": "team-a"}, {"score_id": "s-1"}, {}]
    assert len({await score_id(value=1, **other) for other in others}) == len(others)
